// Uses an installed Muster from outside: its configuration with a key of its own.
// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "runtime/base/text.h"
#include "runtime/config/load.h"

int main(int count, char** words) {
  std::string word = "none";
  muster::Keys keys;
  keys.add("greeting.word", word, "What is said");
  muster::load(keys, {{}, {}, {words + 1, words + count}});
  std::cout << word << ", " << muster::words("a b c").size() << "\n";
  return 0;
}
