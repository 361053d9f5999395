// A shared object that says it was built against headers of another time.
// SPDX-License-Identifier: Apache-2.0
#include "hpo/plugin.h"

extern "C" __attribute__((visibility("default"))) const muster::hpo::SchedulerPlugin*
muster_scheduler_plugin() {
  static const auto plugin = [] {
    muster::hpo::SchedulerPlugin old(nullptr);
    old.interface = 99;
    return old;
  }();
  return &plugin;
}
