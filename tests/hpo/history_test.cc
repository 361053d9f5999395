// SPDX-License-Identifier: Apache-2.0
#include "hpo/history.h"

#include <thread>

#include <gtest/gtest.h>

namespace muster::hpo {
namespace {

Observation numbered(std::size_t number) {
  return Observation{.trial = number,
                     .config = Config{{static_cast<double>(number)}},
                     .value = -1.0 * static_cast<double>(number)};
}

TEST(History, KeepsTheOrderAcrossBlocks) {
  History history;
  for (std::size_t i = 0; i < 5000; ++i) {
    history.append(numbered(i));
  }
  ASSERT_EQ(history.size(), 5000U);
  for (std::size_t i = 0; i < 5000; ++i) {
    ASSERT_EQ(history[i].trial, i);
    ASSERT_EQ(history[i].config.values.front(), static_cast<double>(i));
  }
}

TEST(History, IsReadWhileItGrows) {
  History history;
  std::jthread writer([&] {
    for (std::size_t i = 0; i < 20000; ++i) {
      history.append(numbered(i));
    }
  });
  std::size_t seen = 0;
  while (seen < 20000) {
    seen = history.size();
    if (seen > 0) {
      ASSERT_EQ(history[seen - 1].trial, seen - 1);
    }
  }
}

TEST(History, WhatWasHandedOutNeverMoves) {
  History history;
  history.append(numbered(0));
  const Observation* const before = &history[0];
  for (std::size_t i = 1; i < 3000; ++i) {
    history.append(numbered(i));
  }
  EXPECT_EQ(before, &history[0]);
}

}  // namespace
}  // namespace muster::hpo
