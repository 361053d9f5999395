// SPDX-License-Identifier: Apache-2.0
#include "hpo/plugin.h"

#include <dlfcn.h>

#include "runtime/base/error.h"

namespace muster::hpo {
namespace {

/// `key` and `macro` are what the user wrote, or should have.
template <class Plugin>
Plugin plugin_of(const std::string& file, const std::string& key, const std::string& macro,
                 const char* symbol) {
  const std::string what = "tune." + key + ": " + file;
  void* const library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    throw Error(Fault::bad_input, what + " cannot be opened (" + ::dlerror() +
                                      "); give its path, and link it with muster_hpo");
  }
  using Ask = const Plugin* (*)();
  const auto ask = reinterpret_cast<Ask>(::dlsym(library, symbol));
  const Plugin* const plugin = ask == nullptr ? nullptr : ask();
  if (plugin == nullptr || plugin->magic != PluginHead::magic_value) {
    throw Error(Fault::bad_input,
                what + " is no " + key + " for Muster: it lacks " + macro + "(YourClass)");
  }
  const PluginHead ours;
  if (plugin->interface != ours.interface || plugin->classes_bytes != ours.classes_bytes) {
    throw Error(Fault::bad_input, what + " was built against other Muster headers (interface " +
                                      std::to_string(plugin->interface) + ", this is " +
                                      std::to_string(ours.interface) +
                                      "); build it again with those installed beside this program");
  }
  return *plugin;
}

template <class Made>
std::unique_ptr<Made> checked(std::unique_ptr<Made> made, const std::string& file) {
  if (made == nullptr) {
    throw Error(Fault::bad_input, file + " made nothing");
  }
  return made;
}

}  // namespace

std::unique_ptr<Searcher> open_searcher(const std::string& file, const Space& space,
                                        const SearcherOptions& options) {
  const auto plugin =
      plugin_of<SearcherPlugin>(file, "searcher", "MUSTER_SEARCHER", "muster_searcher_plugin");
  return checked(
      within("making the searcher of " + file, [&] { return plugin.make(space, options); }), file);
}

std::unique_ptr<Scheduler> open_scheduler(const std::string& file,
                                          const SchedulerOptions& options) {
  const auto plugin =
      plugin_of<SchedulerPlugin>(file, "scheduler", "MUSTER_SCHEDULER", "muster_scheduler_plugin");
  return checked(within("making the scheduler of " + file, [&] { return plugin.make(options); }),
                 file);
}

}  // namespace muster::hpo
