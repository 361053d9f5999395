// SPDX-License-Identifier: Apache-2.0
// Token files: nothing but tokens, as uint16 or uint32, little-endian.
#include <fmt/format.h>

#include "runtime/base/error.h"
#include "runtime/data/table.h"

namespace muster {

Table read_tokens(const DataSettings& settings, const TableSource& source, NodeGroup& node) {
  if (settings.token_type != "uint16" && settings.token_type != "uint32") {
    throw Error(Fault::bad_input, fmt::format("data.token_type = {}: tokens are uint16 or uint32",
                                              settings.token_type));
  }
  const h5::Scalar scalar =
      settings.token_type == "uint16" ? h5::Scalar::uint16 : h5::Scalar::uint32;
  auto file = std::make_shared<MappedFile>(source.path, source.role);
  const std::size_t width = h5::size_of(scalar);
  const std::size_t bytes = file->bytes().size();
  if (bytes % width != 0) {
    throw Error(
        Fault::bad_input,
        fmt::format(
            "{} is cut short or of another type: {} bytes are no whole number of {} tokens; check "
            "data.token_type",
            source.path, bytes, settings.token_type));
  }
  const ColumnInfo info{
      .name = source.path, .scalar = scalar, .row_shape = {}, .rows = bytes / width};
  Table table;
  table.features = column_in_file(settings, info, std::move(file), 0, node);
  return table;
}

}  // namespace muster
