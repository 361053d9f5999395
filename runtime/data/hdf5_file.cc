// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "runtime/data/hdf5_library.h"

namespace muster::h5 {
namespace {

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

/// A link at a time, since what visits objects has another signature in each version of HDF5.
herr_t collect_dataset(hid_t group, const char* name, const H5L_info_t* link, void* into) {
  if (link->type != H5L_TYPE_HARD) {
    return 0;
  }
  const hid_t object = H5Oopen(group, name, H5P_DEFAULT);
  if (object >= 0 && H5Iget_type(object) == H5I_DATASET) {
    static_cast<std::vector<std::string>*>(into)->push_back("/" + std::string(name));
  }
  return object < 0 ? -1 : H5Oclose(object);
}

}  // namespace

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
  check(H5Lvisit(id_.get(), H5_INDEX_NAME, H5_ITER_INC, collect_dataset, &paths), Fault::io,
        fmt::format("{}: listing", name_));
  std::ranges::sort(paths);
  return paths;
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
