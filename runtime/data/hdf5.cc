// SPDX-License-Identifier: Apache-2.0
#include "runtime/data/hdf5.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <mutex>

#include "runtime/base/error.h"
#include "runtime/base/log.h"

namespace muster::h5 {
namespace {

static_assert(std::is_same_v<hid_t, std::int64_t>, "Id keeps hid_t without naming it");

// Recursive, because closing a handle takes it too and handles die inside calls.
std::recursive_mutex& library_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

/// Held around every libhdf5 call. Silences the library's printing, a setting of each thread.
class Session {
 public:
  Session() : lock_(library_mutex()) { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

 private:
  std::lock_guard<std::recursive_mutex> lock_;
};

herr_t collect_frame(unsigned, const H5E_error2_t* frame, void* into) {
  auto& text = *static_cast<std::string*>(into);
  if (frame->desc != nullptr && *frame->desc != '\0') {
    text = fmt::format("{}{}{}: {}", text, text.empty() ? "" : "; ", frame->func_name, frame->desc);
  }
  return 0;
}

std::string library_says() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, collect_frame, &text);
  H5Eclear2(H5E_DEFAULT);
  return text.empty() ? "HDF5 gives no reason" : text;
}

[[noreturn]] void fail(Fault fault, std::string_view what) {
  throw Error(fault, fmt::format("{} (HDF5: {})", what, library_says()));
}

template <class Result>
Result check(Result result, Fault fault, std::string_view what) {
  if (result < 0) {
    fail(fault, what);
  }
  return result;
}

Id own(hid_t id, Fault fault, std::string_view what) {
  return Id(check(id, fault, what));
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

Scalar integer_of(std::size_t size, bool is_signed) {
  switch (size) {
    case 1:
      return is_signed ? Scalar::int8 : Scalar::uint8;
    case 2:
      return is_signed ? Scalar::int16 : Scalar::uint16;
    case 4:
      return is_signed ? Scalar::int32 : Scalar::uint32;
    default:
      return is_signed ? Scalar::int64 : Scalar::uint64;
  }
}

Scalar float_of(hid_t type) {
  std::size_t sign = 0, exponent_at = 0, exponent = 0, mantissa_at = 0, mantissa = 0;
  H5Tget_fields(type, &sign, &exponent_at, &exponent, &mantissa_at, &mantissa);
  switch (H5Tget_size(type)) {
    case 2:
      return exponent == 8 ? Scalar::bfloat16 : Scalar::float16;
    case 4:
      return Scalar::float32;
    default:
      return Scalar::float64;
  }
}

/// What a file's type is to us; nothing for text, compounds, and numbers of other widths. h5py's
/// booleans are an enum of one byte.
std::optional<Scalar> scalar_of_type(hid_t type) {
  const H5T_class_t kind = H5Tget_class(type);
  const std::size_t size = H5Tget_size(type);
  if (kind == H5T_ENUM && size == 1) {
    return Scalar::uint8;
  }
  if (kind == H5T_INTEGER && (size == 1 || size == 2 || size == 4 || size == 8)) {
    return integer_of(size, H5Tget_sign(type) != H5T_SGN_NONE);
  }
  if (kind == H5T_FLOAT && (size == 2 || size == 4 || size == 8)) {
    return float_of(type);
  }
  return std::nullopt;
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

void read_layout(hid_t dataset, DatasetInfo& info) {
  const Id plist = own(H5Dget_create_plist(dataset), Fault::io, "asking for a layout");
  info.is_filtered = H5Pget_nfilters(plist.get()) > 0;
  const H5D_layout_t layout = H5Pget_layout(plist.get());
  if (layout == H5D_CHUNKED) {
    std::vector<hsize_t> dims(info.shape.size());
    H5Pget_chunk(plist.get(), static_cast<int>(dims.size()), dims.data());
    info.chunk.assign(dims.begin(), dims.end());
  }
  // An external or virtual data set has no place of its own in this file; nor has one that was
  // never written.
  const haddr_t address = layout == H5D_CONTIGUOUS ? H5Dget_offset(dataset) : HADDR_UNDEF;
  if (address != HADDR_UNDEF && H5Pget_external_count(plist.get()) == 0) {
    info.offset = address;
  }
  H5Eclear2(H5E_DEFAULT);
}

DatasetInfo describe(hid_t dataset, const std::string& path, const std::string& file) {
  DatasetInfo info;
  info.path = path;
  const Id type = own(H5Dget_type(dataset), Fault::bad_input, "asking for a type");
  const auto scalar = scalar_of_type(type.get());
  if (!scalar) {
    throw Error(Fault::bad_input,
                fmt::format("{}: data set {} holds no plain numbers (text or a compound type); "
                            "store numbers of 1, 2, 4 or 8 bytes",
                            file, path));
  }
  info.scalar = *scalar;
  info.is_native_order = H5Tget_size(type.get()) == 1 || H5Tget_order(type.get()) == H5T_ORDER_LE;
  const Id space = own(H5Dget_space(dataset), Fault::bad_input, "asking for a shape");
  info.shape = shape_of(space.get());
  read_layout(dataset, info);
  return info;
}

Id dataset_creation(const Layout& layout) {
  Id plist = own(H5Pcreate(H5P_DATASET_CREATE), Fault::bug, "making a property list");
  H5Pset_obj_track_times(plist.get(), false);  // equal contents give equal files
  if (layout.chunk.empty()) {
    require(layout.deflate == 0 && !layout.shuffle, "filters need a chunk");
    H5Pset_alloc_time(plist.get(), H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(plist.get(), H5D_FILL_TIME_NEVER);
    return plist;
  }
  const std::vector<hsize_t> chunk(layout.chunk.begin(), layout.chunk.end());
  check(H5Pset_chunk(plist.get(), static_cast<int>(chunk.size()), chunk.data()), Fault::bug,
        "setting a chunk");
  if (layout.shuffle) {
    H5Pset_shuffle(plist.get());
  }
  if (layout.deflate > 0) {
    H5Pset_deflate(plist.get(), static_cast<unsigned>(layout.deflate));
  }
  return plist;
}

/// Locking off: our files have one writer and unique names, and locks fail on NFS, Lustre and ZFS.
Id file_access(std::uint64_t alignment, std::uint64_t align_from) {
  Id plist = own(H5Pcreate(H5P_FILE_ACCESS), Fault::bug, "making a property list");
  H5Pset_file_locking(plist.get(), false, true);
  H5Pset_libver_bounds(plist.get(), H5F_LIBVER_V18, H5F_LIBVER_LATEST);
  H5Pset_fclose_degree(plist.get(), H5F_CLOSE_STRONG);
  if (alignment > 1) {
    H5Pset_alignment(plist.get(), align_from, alignment);
  }
  return plist;
}

hid_t open_file(const std::string& name, unsigned mode) {
  posix_file_system().open(
      name, OpenMode::read);  // says "No such file" or "Permission denied" better than HDF5
  const Session session;
  const Id access = file_access(1, 0);
  const hid_t id = H5Fopen(name.c_str(), mode, access.get());
  if (id >= 0) {
    return id;
  }
  H5Eclear2(H5E_DEFAULT);
  const bool has_signature = H5Fis_hdf5(name.c_str()) > 0;
  H5Eclear2(H5E_DEFAULT);
  H5Fopen(name.c_str(), mode, access.get());  // again for its error stack
  fail(Fault::bad_input,
       has_signature
           ? fmt::format("{}: the HDF5 file is cut short or damaged; copy or write it again", name)
           : fmt::format("{}: this is no HDF5 file", name));
}

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

herr_t collect_dataset(hid_t, const char* name, const H5O_info_t* info, void* into) {
  if (info->type == H5O_TYPE_DATASET) {
    static_cast<std::vector<std::string>*>(into)->push_back(fmt::format("/{}", name));
  }
  return 0;
}

herr_t collect_attribute(hid_t, const char* name, const H5A_info_t*, void* into) {
  static_cast<std::vector<std::string>*>(into)->emplace_back(name);
  return 0;
}

/// The rows of a data set as a selection of its file space, and the matching space in memory.
struct Rows {
  Id file;
  Id memory;
};

Rows select_rows(const DatasetInfo& info, std::uint64_t first, std::uint64_t count) {
  require(!info.shape.empty() && first + count <= info.shape[0], "rows outside the data set");
  std::vector<hsize_t> start(info.shape.size(), 0);
  std::vector<hsize_t> block(info.shape.begin(), info.shape.end());
  start[0] = first;
  block[0] = count;
  Rows rows{.file = space_of(info.shape), .memory = space_of({block.begin(), block.end()})};
  check(H5Sselect_hyperslab(rows.file.get(), H5S_SELECT_SET, start.data(), nullptr, block.data(),
                            nullptr),
        Fault::bug, "selecting rows");
  return rows;
}

std::uint64_t row_elements(const DatasetInfo& info) {
  return info.shape.empty() || info.shape[0] == 0 ? 0 : elements_of(info.shape) / info.shape[0];
}

}  // namespace

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

std::size_t size_of(Scalar scalar) {
  constexpr std::array<std::uint8_t, 12> sizes{2, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8};
  return sizes.at(static_cast<std::size_t>(scalar));
}

std::string_view name_of(Scalar scalar) {
  constexpr std::array<std::string_view, 12> names{"float16", "bfloat16", "float32", "float64",
                                                   "int8",    "int16",    "int32",   "int64",
                                                   "uint8",   "uint16",   "uint32",  "uint64"};
  return names.at(static_cast<std::size_t>(scalar));
}

namespace {
constexpr std::array<std::pair<Scalar, DType>, 7> known_dtypes{{{Scalar::float32, DType::float32},
                                                                {Scalar::float64, DType::float64},
                                                                {Scalar::float16, DType::float16},
                                                                {Scalar::bfloat16, DType::bfloat16},
                                                                {Scalar::int32, DType::int32},
                                                                {Scalar::int64, DType::int64},
                                                                {Scalar::uint8, DType::uint8}}};
}  // namespace

Scalar scalar_of(DType dtype) {
  const auto* found = std::ranges::find(known_dtypes, dtype, &std::pair<Scalar, DType>::second);
  return found->first;
}

std::optional<DType> dtype_of(Scalar scalar) {
  const auto* found = std::ranges::find(known_dtypes, scalar, &std::pair<Scalar, DType>::first);
  return found == known_dtypes.end() ? std::nullopt : std::optional(found->second);
}

std::uint64_t elements_of(const Shape& shape) {
  std::uint64_t product = 1;
  for (const std::uint64_t length : shape) {
    product *= length;
  }
  return product;
}

std::string text_of(const Shape& shape) {
  return shape.empty() ? "scalar" : fmt::format("{}", fmt::join(shape, " x "));
}

Dataset::Dataset(Id id, const std::string& path, const std::string& file)
    : id_(std::move(id)), file_(file), info_(describe(id_.get(), path, file)) {}

void Dataset::read(std::span<std::byte> into, Scalar memory) const {
  require(into.size() == elements_of(info_.shape) * size_of(memory),
          "h5: the memory does not fit the data set");
  const Session session;
  const Id type = type_of(memory);
  check(H5Dread(id_.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, into.data()), Fault::io,
        fmt::format("{}: reading {}", file_, info_.path));
}

void Dataset::read_rows(std::uint64_t first, std::uint64_t count, std::span<std::byte> into,
                        Scalar memory) const {
  require(into.size() == count * row_elements(info_) * size_of(memory),
          "h5: the memory does not fit the rows");
  const Session session;
  const Id type = type_of(memory);
  const Rows rows = select_rows(info_, first, count);
  check(
      H5Dread(id_.get(), type.get(), rows.memory.get(), rows.file.get(), H5P_DEFAULT, into.data()),
      Fault::io,
      fmt::format("{}: reading {}, rows {} to {}", file_, info_.path, first, first + count));
}

void Dataset::write(std::span<const std::byte> from, Scalar memory) {
  require(from.size() == elements_of(info_.shape) * size_of(memory),
          "h5: the memory does not fit the data set");
  const Session session;
  const Id type = type_of(memory);
  check(H5Dwrite(id_.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, from.data()), Fault::io,
        fmt::format("{}: writing {}", file_, info_.path));
}

void Dataset::write_rows(std::uint64_t first, std::uint64_t count, std::span<const std::byte> from,
                         Scalar memory) {
  require(from.size() == count * row_elements(info_) * size_of(memory),
          "h5: the memory does not fit the rows");
  const Session session;
  const Id type = type_of(memory);
  const Rows rows = select_rows(info_, first, count);
  check(
      H5Dwrite(id_.get(), type.get(), rows.memory.get(), rows.file.get(), H5P_DEFAULT, from.data()),
      Fault::io,
      fmt::format("{}: writing {}, rows {} to {}", file_, info_.path, first, first + count));
}

File File::create(const Path& path, std::uint64_t alignment, std::uint64_t align_from) {
  const std::string name = path.string();
  posix_file_system().open(name, OpenMode::create_or_cut);  // says why not better than HDF5
  const Session session;
  const Id access = file_access(alignment, align_from);
  const Id creation = own(H5Pcreate(H5P_FILE_CREATE), Fault::bug, "making a property list");
  H5Pset_obj_track_times(creation.get(), false);
  return {own(H5Fcreate(name.c_str(), H5F_ACC_TRUNC, creation.get(), access.get()), Fault::io,
              "making " + name),
          name};
}

File File::open(const Path& path) {
  return {Id(open_file(path.string(), H5F_ACC_RDONLY)), path.string()};
}

File File::open_for_update(const Path& path) {
  return {Id(open_file(path.string(), H5F_ACC_RDWR)), path.string()};
}

bool File::has(const std::string& path) const {
  const Session session;
  if (path == "/") {
    return true;
  }
  // H5Lexists fails, rather than says no, when a group on the way is missing.
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    if (H5Lexists(id_.get(), path.substr(0, slash).c_str(), H5P_DEFAULT) <= 0) {
      H5Eclear2(H5E_DEFAULT);
      return false;
    }
    if (slash == std::string::npos) {
      return true;
    }
  }
}

void File::make_group(const std::string& path) {
  const Session session;
  if (path.empty() || has(path)) {
    return;
  }
  make_group(path.substr(0, path.rfind('/')));
  const Id creation = own(H5Pcreate(H5P_GROUP_CREATE), Fault::bug, "making a property list");
  H5Pset_obj_track_times(creation.get(), false);
  own(H5Gcreate2(id_.get(), path.c_str(), H5P_DEFAULT, creation.get(), H5P_DEFAULT), Fault::io,
      fmt::format("{}: making group {}", name_, path));
}

Dataset File::create_dataset(const std::string& path, Scalar scalar, const Shape& shape,
                             const Layout& layout) {
  const Session session;
  const Id type = type_of(scalar);
  const Id space = space_of(shape);
  const Id creation = dataset_creation(layout);
  make_group(path.substr(0, path.rfind('/')));
  Id id = own(H5Dcreate2(id_.get(), path.c_str(), type.get(), space.get(), H5P_DEFAULT,
                         creation.get(), H5P_DEFAULT),
              Fault::io, fmt::format("{}: making data set {} of {}", name_, path, text_of(shape)));
  return {std::move(id), path, name_};
}

Dataset File::dataset(const std::string& path) const {
  const Session session;
  Id id = own(H5Dopen2(id_.get(), path.c_str(), H5P_DEFAULT), Fault::bad_input,
              fmt::format("{}: there is no data set {}", name_, path));
  return {std::move(id), path, name_};
}

std::vector<std::string> File::datasets() const {
  const Session session;
  std::vector<std::string> paths;
  check(H5Ovisit2(id_.get(), H5_INDEX_NAME, H5_ITER_INC, collect_dataset, &paths, H5O_INFO_BASIC),
        Fault::io, fmt::format("{}: listing", name_));
  std::ranges::sort(paths);
  return paths;
}

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

void File::flush() {
  const Session session;
  check(H5Fflush(id_.get(), H5F_SCOPE_LOCAL), Fault::io, "flushing " + name_);
}

void File::close() {
  const Session session;
  flush();
  check(H5Fclose(id_.release()), Fault::io, "closing " + name_);
}

}  // namespace muster::h5
