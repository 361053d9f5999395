// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "runtime/data/hdf5_library.h"

namespace muster::h5 {
namespace {

/// The object that an attribute belongs to.
Id open_object(hid_t file, const std::string& name, const std::string& path) {
  return own(H5Oopen(file, path.c_str(), H5P_DEFAULT), Fault::bad_input,
             fmt::format("{}: there is no {}", name, path));
}

Id open_attribute(hid_t object, const std::string& attribute) {
  if (H5Aexists(object, attribute.c_str()) <= 0) {
    H5Eclear2(H5E_DEFAULT);
    return Id();
  }
  return own(H5Aopen(object, attribute.c_str(), H5P_DEFAULT), Fault::io,
             "opening attribute " + attribute);
}

void write_attribute(hid_t object, const std::string& attribute, hid_t type, const Shape& shape,
                     const void* data) {
  if (H5Aexists(object, attribute.c_str()) > 0) {
    H5Adelete(object, attribute.c_str());
  }
  const Id space = space_of(shape);
  const Id id =
      own(H5Acreate2(object, attribute.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT),
          Fault::io, "making attribute " + attribute);
  if (elements_of(shape) > 0) {
    check(H5Awrite(id.get(), type, data), Fault::io, "writing attribute " + attribute);
  }
}

template <class Number>
std::optional<std::vector<Number>> read_numbers(hid_t object, const std::string& attribute,
                                                hid_t memory) {
  const Id id = open_attribute(object, attribute);
  if (!id) {
    return std::nullopt;
  }
  const Id space = own(H5Aget_space(id.get()), Fault::io, "asking for a shape");
  std::vector<Number> values(elements_of(shape_of(space.get())));
  if (!values.empty()) {
    check(H5Aread(id.get(), memory, values.data()), Fault::bad_input,
          fmt::format("attribute {} holds no numbers", attribute));
  }
  return values;
}

Id text_type(std::size_t size) {
  Id type = own(H5Tcopy(H5T_C_S1), Fault::bug, "copying the text type");
  H5Tset_size(type.get(), size);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

std::string read_text(hid_t attribute, hid_t type) {
  if (H5Tis_variable_str(type) > 0) {
    char* text = nullptr;
    check(H5Aread(attribute, type, static_cast<void*>(&text)), Fault::io,
          "reading a text attribute");
    std::string copy = text == nullptr ? "" : text;
    H5free_memory(text);
    return copy;
  }
  std::string text(H5Tget_size(type), '\0');
  check(H5Aread(attribute, type, text.data()), Fault::io, "reading a text attribute");
  return text.substr(0, text.find('\0'));
}

herr_t collect_attribute(hid_t, const char* name, const H5A_info_t*, void* into) {
  static_cast<std::vector<std::string>*>(into)->emplace_back(name);
  return 0;
}

}  // namespace

void File::set_text(const std::string& path, const std::string& attribute, std::string_view value) {
  const Session session;
  const Id object = open_object(id_.get(), name_, path);
  const Id type = text_type(H5T_VARIABLE);
  const std::string copy(value);
  const char* data = copy.c_str();
  write_attribute(object.get(), attribute, type.get(), {}, static_cast<const void*>(&data));
}

void File::set_int(const std::string& path, const std::string& attribute, std::int64_t value) {
  const Session session;
  write_attribute(open_object(id_.get(), name_, path).get(), attribute, H5T_STD_I64LE, {}, &value);
}

void File::set_double(const std::string& path, const std::string& attribute, double value) {
  const Session session;
  write_attribute(open_object(id_.get(), name_, path).get(), attribute, H5T_IEEE_F64LE, {}, &value);
}

void File::set_ints(const std::string& path, const std::string& attribute,
                    std::span<const std::int64_t> values) {
  const Session session;
  write_attribute(open_object(id_.get(), name_, path).get(), attribute, H5T_STD_I64LE,
                  {values.size()}, values.data());
}

void File::set_doubles(const std::string& path, const std::string& attribute,
                       std::span<const double> values) {
  const Session session;
  write_attribute(open_object(id_.get(), name_, path).get(), attribute, H5T_IEEE_F64LE,
                  {values.size()}, values.data());
}

std::optional<std::string> File::text(const std::string& path, const std::string& attribute) const {
  const Session session;
  const Id object = open_object(id_.get(), name_, path);
  const Id id = open_attribute(object.get(), attribute);
  if (!id) {
    return std::nullopt;
  }
  const Id type = own(H5Aget_type(id.get()), Fault::io, "asking for a type");
  if (H5Tget_class(type.get()) != H5T_STRING) {
    throw Error(Fault::bad_input,
                fmt::format("{}: attribute {} of {} is no text", name_, attribute, path));
  }
  return read_text(id.get(), type.get());
}

std::optional<std::vector<std::int64_t>> File::ints(const std::string& path,
                                                    const std::string& attribute) const {
  const Session session;
  return read_numbers<std::int64_t>(open_object(id_.get(), name_, path).get(), attribute,
                                    H5T_NATIVE_INT64);
}

std::optional<std::vector<double>> File::doubles(const std::string& path,
                                                 const std::string& attribute) const {
  const Session session;
  return read_numbers<double>(open_object(id_.get(), name_, path).get(), attribute,
                              H5T_NATIVE_DOUBLE);
}

std::optional<std::int64_t> File::integer(const std::string& path,
                                          const std::string& attribute) const {
  const auto values = ints(path, attribute);
  return values && values->size() == 1 ? std::optional(values->front()) : std::nullopt;
}

std::optional<double> File::real(const std::string& path, const std::string& attribute) const {
  const auto values = doubles(path, attribute);
  return values && values->size() == 1 ? std::optional(values->front()) : std::nullopt;
}

std::vector<std::string> File::attributes(const std::string& path) const {
  const Session session;
  const Id object = open_object(id_.get(), name_, path);
  std::vector<std::string> names;
  hsize_t at = 0;
  H5Aiterate2(object.get(), H5_INDEX_NAME, H5_ITER_INC, &at, collect_attribute, &names);
  return names;
}

}  // namespace muster::h5
