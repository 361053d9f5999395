// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/state_tree.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/error.h"

namespace muster {
namespace {

void require_name(std::string_view name) {
  const bool plain = std::ranges::all_of(name, [](char c) { return c > ' ' && c != 0x7f; });
  require(plain && !name.empty() && name.front() != '/' && name.back() != '/' &&
              name.find("//") == std::string_view::npos && !name.starts_with("records/"),
          fmt::format("'{}' cannot name a tensor of a checkpoint", name));
}

void require_range(const TensorSlice& slice) {
  const std::uint64_t elements = elements_in(slice.shape);
  const std::uint64_t count = slice.bytes.size() / size_of(slice.dtype);
  require(slice.bytes.size() % size_of(slice.dtype) == 0 && slice.first + count <= elements,
          fmt::format("the range [{}, {}) is outside tensor '{}' of {} elements", slice.first,
                      slice.first + count, slice.name, elements));
  require(!slice.replicated || count == elements,
          fmt::format("tensor '{}' is replicated, so every rank gives all of it", slice.name));
}

}  // namespace

std::uint64_t elements_in(std::span<const std::uint64_t> shape) {
  std::uint64_t product = 1;
  for (const std::uint64_t length : shape) {
    product *= length;
  }
  return product;
}

void StateTree::add(TensorSlice slice) {
  require_name(slice.name);
  require_range(slice);
  const auto same = std::ranges::find(slices_, slice.name, &TensorSlice::name);
  require(same == slices_.end() || (same->dtype == slice.dtype && same->shape == slice.shape &&
                                    same->axes == slice.axes),
          fmt::format("two slices of tensor '{}' differ in type or shape", slice.name));
  require(slice.axes.empty() || slice.axes.size() == slice.shape.size(),
          fmt::format("tensor '{}' has another number of axes than dimensions", slice.name));
  slices_.push_back(std::move(slice));
}

void StateTree::record(std::string name, RecordRef field) {
  require_name(name);
  require(std::ranges::find(records_, name, &Record::name) == records_.end(),
          fmt::format("record '{}' is there twice", name));
  records_.push_back({.name = std::move(name), .value = field});
}

std::uint64_t StateTree::local_bytes() const {
  std::uint64_t bytes = 0;
  for (const TensorSlice& slice : slices_) {
    bytes += slice.bytes.size();
  }
  return bytes;
}

}  // namespace muster
