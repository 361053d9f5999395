// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/commit.h"

#include <algorithm>

#include "runtime/base/error.h"

namespace muster {

void begin_file(const Path& directory, std::string_view file, std::uint64_t bytes, bool reserve,
                FileSystem& files) {
  files.make_directory(directory);
  auto data = files.open(directory / file, OpenMode::create_or_cut);
  if (reserve) {
    data->allocate(bytes);  // a full disk shows here, before anything is written
  }
  data->truncate(bytes);
}

ManifestFile manifest_file(std::string name, const Layout& layout, const CheckpointInfo& info,
                           std::vector<Block> blocks) {
  std::ranges::sort(blocks, {}, &Block::offset);
  return {.name = std::move(name),
          .bytes = layout.file_bytes,
          .info = info,
          .tensors = layout.tensors,
          .records = layout.records,
          .blocks = std::move(blocks)};
}

Path commit_directory(const CheckpointStore& store, const Path& temporary,
                      const Manifest& manifest) {
  FileSystem& files = store.files();
  {
    auto file = files.open(temporary / manifest_name, OpenMode::create_or_cut);
    file->append(as_bytes(text_of(manifest)));
    file->sync();
  }
  files.sync_directory(temporary);
  std::int64_t step = 0;
  for (const ManifestFile& file : manifest.files) {
    step = std::max(step, file.info.step);
  }
  Path name = store.free_name(step);
  files.rename(temporary, name);
  files.sync_directory(store.directory());
  return name;
}

}  // namespace muster
