// SPDX-License-Identifier: Apache-2.0
#include "runtime/data/hdf5_library.h"

#include <fmt/format.h>

#include "runtime/base/log.h"

namespace muster::h5 {
namespace {

// Recursive, because closing a handle takes it too and handles die inside calls.
std::recursive_mutex& library_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

herr_t collect_frame(unsigned, const H5E_error2_t* frame, void* into) {
  auto& text = *static_cast<std::string*>(into);
  if (frame->desc != nullptr && *frame->desc != '\0') {
    text = fmt::format("{}{}{}: {}", text, text.empty() ? "" : "; ", frame->func_name, frame->desc);
  }
  return 0;
}

Id small_float(int exponent_bits, int mantissa_bits, std::size_t bias) {
  Id type = own(H5Tcopy(H5T_IEEE_F32LE), Fault::bug, "copying a float type");
  // Fields first, size last: HDF5 refuses a size that does not hold the present fields.
  H5Tset_fields(type.get(), 15, static_cast<std::size_t>(mantissa_bits),
                static_cast<std::size_t>(exponent_bits), 0,
                static_cast<std::size_t>(mantissa_bits));
  H5Tset_precision(type.get(), 16);
  H5Tset_ebias(type.get(), bias);
  check(H5Tset_size(type.get(), 2), Fault::bug, "making a float of two bytes");
  return type;
}

}  // namespace

Session::Session() : lock_(library_mutex()) {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

std::string library_says() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, collect_frame, &text);
  H5Eclear2(H5E_DEFAULT);
  return text.empty() ? "HDF5 gives no reason" : text;
}

void fail(Fault fault, std::string_view what) {
  throw Error(fault, fmt::format("{} (HDF5: {})", what, library_says()));
}

Id type_of(Scalar scalar) {
  auto copy = [](hid_t type) { return own(H5Tcopy(type), Fault::bug, "copying a type"); };
  switch (scalar) {
    case Scalar::float16:
      return small_float(5, 10, 15);
    case Scalar::bfloat16:
      return small_float(8, 7, 127);
    case Scalar::float32:
      return copy(H5T_IEEE_F32LE);
    case Scalar::float64:
      return copy(H5T_IEEE_F64LE);
    case Scalar::int8:
      return copy(H5T_STD_I8LE);
    case Scalar::int16:
      return copy(H5T_STD_I16LE);
    case Scalar::int32:
      return copy(H5T_STD_I32LE);
    case Scalar::int64:
      return copy(H5T_STD_I64LE);
    case Scalar::uint8:
      return copy(H5T_STD_U8LE);
    case Scalar::uint16:
      return copy(H5T_STD_U16LE);
    case Scalar::uint32:
      return copy(H5T_STD_U32LE);
    case Scalar::uint64:
      return copy(H5T_STD_U64LE);
  }
  throw Error(Fault::bug, "an unknown scalar");
}

Shape shape_of(hid_t space) {
  const int rank =
      check(H5Sget_simple_extent_ndims(space), Fault::bad_input, "asking for dimensions");
  std::vector<hsize_t> dims(static_cast<std::size_t>(rank));
  H5Sget_simple_extent_dims(space, dims.data(), nullptr);
  return {dims.begin(), dims.end()};
}

Id space_of(const Shape& shape) {
  if (shape.empty()) {
    return own(H5Screate(H5S_SCALAR), Fault::bug, "making a scalar space");
  }
  const std::vector<hsize_t> dims(shape.begin(), shape.end());
  return own(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), Fault::bug,
             "making a space");
}

void IdTraits::close(type id) noexcept {
  const Session session;
  herr_t result = -1;
  switch (H5Iget_type(id)) {
    case H5I_FILE:
      result = H5Fclose(id);
      break;
    case H5I_DATATYPE:
      result = H5Tclose(id);
      break;
    case H5I_DATASPACE:
      result = H5Sclose(id);
      break;
    case H5I_ATTR:
      result = H5Aclose(id);
      break;
    case H5I_GENPROP_LST:
      result = H5Pclose(id);
      break;
    case H5I_BADID:
      result = 0;  // its file was closed before it, which closes all that was open in it
      break;
    default:
      result = H5Oclose(id);
  }
  if (result < 0) {
    log::warning("closing an HDF5 object failed: " + library_says());
  }
}

}  // namespace muster::h5
