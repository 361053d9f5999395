// cuDNN's graphs: one engine is offered for each, and a plan is noted by the operations of its
// graph. Numbers are those of cudnn_graph.h. SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <set>
#include <vector>

#include "tests/gpu/pretend_card/library.h"

using muster::pretend::LibraryHandle;

namespace {

constexpr int type_int64 = 3;
constexpr int type_int32 = 23;
constexpr int descriptor_type = 15;
constexpr int heuristic_results = 202;        // CUDNN_ATTR_ENGINEHEUR_RESULTS
constexpr int engine_of_configuration = 300;  // CUDNN_ATTR_ENGINECFG_ENGINE

struct Descriptor {
  int type = 0;
  std::vector<const Descriptor*> parts;
};

const char* name_of(int type) {
  switch (type) {
    case 10:
      return "convolution";
    case 11:
      return "convolution-of-filter";
    case 12:
      return "convolution-of-data";
    case 13:
      return "pointwise";
    case 19:
      return "matmul";
    case 22:
      return "reduction";
    case 41:
      return "attention";
    case 43:
      return "attention-backward";
    default:
      return nullptr;
  }
}

void list_operations(const Descriptor* from, std::set<const Descriptor*>& seen, std::string& into) {
  if (!seen.insert(from).second) {
    return;
  }
  if (name_of(from->type) != nullptr) {
    into += std::string(into.empty() ? "" : " ") + name_of(from->type);
  }
  for (const Descriptor* part : from->parts) {
    list_operations(part, seen, into);
  }
}

}  // namespace

extern "C" {

std::size_t cudnnGetVersion() {
  return 91900;
}
std::size_t cudnnGetCudartVersion() {
  return 13000;
}
const char* cudnnGetErrorString(int /*status*/) {
  return "an error of the pretended card";
}
int cudnnSetStream(LibraryHandle* handle, cudaStream_t stream) {
  handle->stream = stream;
  return 0;
}
int cudnnGetStream(LibraryHandle* handle, cudaStream_t* stream) {
  *stream = handle->stream;
  return 0;
}

int cudnnBackendCreateDescriptor(int type, void** descriptor) {
  *descriptor = new Descriptor{.type = type, .parts = {}};
  return 0;
}
int cudnnBackendDestroyDescriptor(void* /*descriptor*/) {
  return 0;  // others may name it
}
int cudnnBackendFinalize(void* /*descriptor*/) {
  return 0;
}
int cudnnBackendSetAttribute(Descriptor* descriptor, int /*name*/, int type, std::int64_t count,
                             const void* values) {
  for (std::int64_t i = 0; type == descriptor_type && i < count; ++i) {
    descriptor->parts.push_back(static_cast<Descriptor* const*>(values)[i]);
  }
  return 0;
}
int cudnnBackendGetAttribute(const Descriptor* descriptor, int name, int type,
                             std::int64_t requested, std::int64_t* count, void* values) {
  std::int64_t given = 0;
  if (name == heuristic_results) {
    given = 1;
    if (requested > 0 && values != nullptr) {
      (*static_cast<Descriptor**>(values))->parts.push_back(descriptor);
    }
  } else if (type == type_int64 || type == type_int32) {  // no room is wanted
    given = 1;
    if (requested > 0 && values != nullptr) {
      std::memset(values, 0, type == type_int64 ? 8 : 4);
    }
  } else if (name == engine_of_configuration && requested > 0 && values != nullptr) {
    given = 1;
    (*static_cast<Descriptor**>(values))->parts.push_back(descriptor);
  }
  if (count != nullptr) {
    *count = given;
  }
  return 0;
}
int cudnnBackendExecute(const LibraryHandle* handle, const Descriptor* plan,
                        const Descriptor* /*arguments*/) {
  std::string operations;
  std::set<const Descriptor*> seen;
  list_operations(plan, seen, operations);
  return pretend_library_call(("cudnn <" + operations + ">").c_str(), handle->stream);
}

}  // extern "C"
