/// MUSTER_SEARCHER, MUSTER_SCHEDULER: a searcher or a scheduler of your own in a shared object,
/// built against these headers, linked with muster::muster_hpo, and named as
/// tune.searcher = plugin:libmine.so. A class keeps the contract of searcher.h or scheduler.h;
/// configs/examples/plugin_searcher is a worked example. One object may hold one of each.
///
///     class Mine final : public muster::hpo::Searcher {
///      public:
///       Mine(const muster::hpo::Space& space, const muster::hpo::SearcherOptions& options);
///       ...
///     };
///     MUSTER_SEARCHER(Mine)     // for a scheduler: Mine(const SchedulerOptions&)
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "hpo/scheduler.h"
#include "hpo/searcher.h"

namespace muster::hpo {

/// What a shared object says of itself. The first four fields never move, so that any version can
/// read them.
struct PluginHead {
  static constexpr std::uint64_t magic_value = 0x6f70686d7274736dULL;  // "mstrmhpo"
  static constexpr std::uint32_t interface_version =
      1;  ///< changed with every change of the classes that plug-ins see
  std::uint64_t magic = magic_value;
  std::uint32_t interface = interface_version;
  std::uint32_t classes_bytes = sizeof(Space) + sizeof(History) + sizeof(Question) +
                                sizeof(Proposal) + sizeof(SearcherOptions) +
                                sizeof(SchedulerOptions) + sizeof(Offer) + sizeof(Verdict);
  const char* compiler = __VERSION__;
};
struct SearcherPlugin : PluginHead {
  using Make = std::unique_ptr<Searcher> (*)(const Space&, const SearcherOptions&);
  explicit SearcherPlugin(Make maker) : make(maker) {}
  Make make;
};
struct SchedulerPlugin : PluginHead {
  using Make = std::unique_ptr<Scheduler> (*)(const SchedulerOptions&);
  explicit SchedulerPlugin(Make maker) : make(maker) {}
  Make make;
};

/// Open `file` and make what it holds; the object stays open until the process ends.
/// Error(bad_input) where it cannot be opened, lacks the macro, or was built against other headers.
std::unique_ptr<Searcher> open_searcher(const std::string& file, const Space& space,
                                        const SearcherOptions& options);
std::unique_ptr<Scheduler> open_scheduler(const std::string& file, const SchedulerOptions& options);

}  // namespace muster::hpo

#define MUSTER_SEARCHER(Class)                                                           \
  extern "C" __attribute__((visibility("default"))) const muster::hpo::SearcherPlugin*   \
  muster_searcher_plugin() {                                                             \
    static const muster::hpo::SearcherPlugin plugin(                                     \
        [](const muster::hpo::Space& space, const muster::hpo::SearcherOptions& options) \
            -> std::unique_ptr<muster::hpo::Searcher> {                                  \
          return std::make_unique<Class>(space, options);                                \
        });                                                                              \
    return &plugin;                                                                      \
  }
#define MUSTER_SCHEDULER(Class)                                                         \
  extern "C" __attribute__((visibility("default"))) const muster::hpo::SchedulerPlugin* \
  muster_scheduler_plugin() {                                                           \
    static const muster::hpo::SchedulerPlugin plugin(                                   \
        [](const muster::hpo::SchedulerOptions& options)                                \
            -> std::unique_ptr<muster::hpo::Scheduler> {                                \
          return std::make_unique<Class>(options);                                      \
        });                                                                             \
    return &plugin;                                                                     \
  }
