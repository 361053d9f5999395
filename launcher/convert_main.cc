// muster-convert: what `muster convert` runs. A program of its own, because libhdf5 brings thirty
// libraries along and `muster` must start in milliseconds. SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>

#include "launcher/cli/command.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/text.h"
#include "runtime/config/data_settings.h"
#include "runtime/data/convert_file.h"

namespace muster {
namespace {

const CommandHelp help{
    .usage = "muster convert SOURCE OUT.h5 [--data.key value ...]\nmuster convert --verify FILE.h5",
    .about =
        "Reads a data set in any form that training reads (IDX, CIFAR, CSV, NPY, HDF5, plain or "
        "chunked) and writes it as "
        "contiguous HDF5, the form that is mapped and trains fastest. Numbers keep their type. "
        "Every row is checked on the way, "
        "and the file is read again and compared with its checksums before it gets its name.\n\n"
        "The keys are those of a job's [data] section.",
    .examples = {
        {"muster convert train-images-idx3-ubyte mnist.h5",
         "MNIST; the labels are found beside the images"},
        {"muster convert iris.csv iris.h5 --data.label_column species", "a table with a header"},
        {"muster convert --verify mnist.h5", "reads it whole and compares its checksums"}}};

void say(const Converted& done, const std::string& out) {
  fmt::print("{}: {} rows, features {}, labels {}{}, {}\n", out, done.rows, done.features,
             done.labels, done.classes > 0 ? fmt::format(" in {} classes", done.classes) : "",
             human_bytes(static_cast<double>(done.bytes)));
}

int convert(const Arguments& arguments) {
  Keys keys;
  DataSettings settings;
  bool verify = false;
  keys.add("verify", verify, "Compare the checksums of a converted file").only_on_command_line();
  add_data_keys(keys, settings);
  const auto line = take_command_line(keys, arguments, help);
  if (!line) {
    return exit_finished;
  }
  load(keys, {{}, {}, line->options});
  if (line->words.size() != (verify ? 1U : 2U)) {
    throw Error(
        Fault::bad_input,
        verify
            ? "muster convert --verify takes one file"
            : "muster convert takes a source and the file to write: muster convert SOURCE OUT.h5");
  }
  if (verify) {
    verify_converted(line->words[0]);
    fmt::print("{}: the checksums hold\n", line->words[0]);
    return exit_finished;
  }
  settings.path = line->words[0];
  say(convert_to_hdf5(settings, line->words[1]), line->words[1]);
  return exit_finished;
}

constexpr std::array table{Command{
    "Tools", "convert", "Any data set as HDF5 that trains fastest, with checksums", convert}};

}  // namespace
}  // namespace muster

int main(int count, char** words) {
  muster::Arguments arguments{"convert"};
  arguments.insert(arguments.end(), words + 1, words + count);
  return muster::run_command(muster::table, arguments);
}
