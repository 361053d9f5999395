// A shared object that says it was built against headers of another time.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/plugin.h"

extern "C" __attribute__((visibility("default"))) const muster::PluginEntry* muster_model_plugin() {
  static const muster::PluginEntry entry{.interface = 99};
  return &entry;
}
