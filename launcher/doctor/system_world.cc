// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "launcher/cli/build_info.h"
#include "launcher/doctor/world.h"
#include "runtime/base/error.h"
#include "runtime/base/file_system.h"
#include "runtime/base/handle.h"
#include "runtime/base/text.h"
#include "runtime/gpu/open_gpus.h"

namespace muster {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds patience{5};

/// A library opened for as long as its version is asked.
struct LibraryTraits {
  using type = void*;
  static type none() noexcept { return nullptr; }
  static void close(type library) noexcept { ::dlclose(library); }
};
class Library {
 public:
  explicit Library(const std::string& name) : handle_(::dlopen(name.c_str(), RTLD_LAZY)) {}
  explicit operator bool() const { return static_cast<bool>(handle_); }
  template <class Function>
  Function* find(const char* symbol) const {
    return handle_ ? reinterpret_cast<Function*>(::dlsym(handle_.get(), symbol)) : nullptr;
  }

 private:
  Handle<LibraryTraits> handle_;
};

/// Everything that comes through the pipe until it closes or patience ends.
std::optional<std::string> drain(int descriptor) {
  std::string text;
  std::array<char, 4096> buffer{};
  const auto end = Clock::now() + patience;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
    pollfd ready{descriptor, POLLIN, 0};
    if (left.count() <= 0 || ::poll(&ready, 1, static_cast<int>(left.count())) <= 0) {
      return std::nullopt;
    }
    const auto count = ::read(descriptor, buffer.data(), buffer.size());
    if (count <= 0) {
      return text;
    }
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
}

std::optional<pid_t> spawn(const std::vector<std::string>& command, int output) {
  std::vector<char*> words;
  for (const auto& word : command) {
    words.push_back(const_cast<char*>(word.c_str()));
  }
  words.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  pid_t pid = -1;
  const int error = ::posix_spawnp(&pid, words[0], &actions, nullptr, words.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  return error == 0 ? std::optional(pid) : std::nullopt;
}

/// NVML tells of GPUs without making a context on them.
class Nvml {
 public:
  Nvml() : library_("libnvidia-ml.so.1") {}

  std::optional<DriverFacts> facts() {
    const auto init = library_.find<int()>("nvmlInit_v2");
    const auto driver = library_.find<int(char*, unsigned)>("nvmlSystemGetDriverVersion");
    const auto count = library_.find<int(unsigned*)>("nvmlDeviceGetCount_v2");
    std::array<char, 96> text{};
    unsigned devices = 0;
    if (init == nullptr || driver == nullptr || count == nullptr || init() != 0 ||
        driver(text.data(), text.size()) != 0) {
      return std::nullopt;
    }
    DriverFacts result{text.data(), {}};
    if (const auto cuda = library_.find<int(int*)>("nvmlSystemGetCudaDriverVersion_v2")) {
      cuda(&result.cuda);
    }
    if (count(&devices) == 0) {
      for (unsigned index = 0; index < devices; ++index) {
        result.gpus.push_back(device(index));
      }
    }
    return result;
  }

 private:
  GpuFacts device(unsigned index) {
    struct Memory {
      unsigned long long total, free, used;
    };
    const auto handle_of = library_.find<int(unsigned, void**)>("nvmlDeviceGetHandleByIndex_v2");
    const auto name_of = library_.find<int(void*, char*, unsigned)>("nvmlDeviceGetName");
    const auto memory_of = library_.find<int(void*, Memory*)>("nvmlDeviceGetMemoryInfo");
    void* handle = nullptr;
    std::array<char, 96> name{"unknown"};
    Memory memory{};
    if (handle_of != nullptr && handle_of(index, &handle) == 0) {
      if (name_of != nullptr) {
        name_of(handle, name.data(), name.size());
      }
      if (memory_of != nullptr) {
        memory_of(handle, &memory);
      }
    }
    return {name.data(), memory.total};
  }

  Library library_;
};

/// 21205 is 2.12.5, since 2.9; before it was 2708.
std::string nccl_words(int version) {
  const int major = version < 10000 ? version / 1000 : version / 10000;
  const int rest = version < 10000 ? version % 1000 : version % 10000;
  return fmt::format("{}.{}.{}", major, rest / 100, rest % 100);
}

/// "Intel MKL 2024.2" of the long sentence that the library says.
std::string mkl_words(std::string_view sentence) {
  constexpr std::string_view lead = "Version ";
  const auto at = sentence.find(lead);
  if (at == std::string_view::npos) {
    return std::string(trim(sentence));
  }
  const auto version = sentence.substr(at + lead.size());
  return "Intel MKL " + std::string(version.substr(0, version.find_first_of("- ")));
}

class SystemWorld final : public World {
 public:
  std::optional<std::string> output_of(const std::vector<std::string>& command) override {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
      return std::nullopt;
    }
    const Descriptor reading(ends[0]);
    Descriptor writing(ends[1]);
    const auto pid = spawn(command, writing.get());
    writing.reset();
    if (!pid) {
      return std::nullopt;
    }
    auto text = drain(reading.get());
    if (!text) {
      ::kill(*pid, SIGKILL);
    }
    int status = 0;
    ::waitpid(*pid, &status, 0);
    return status == 0 ? text : std::nullopt;
  }

  bool has_program(const std::string& name) override {
    const auto folders = split(variable("PATH").value_or("/usr/bin:/bin"), ':');
    return std::ranges::any_of(folders, [&](const std::string& folder) {
      return ::access((folder + "/" + name).c_str(), X_OK) == 0;
    });
  }

  std::optional<std::string> read(const std::string& path) override {
    return read_file_if_there(path);
  }

  std::optional<std::string> variable(const std::string& name) override {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  }

  std::vector<int> allowed_cpus() override {
    cpu_set_t set;
    CPU_ZERO(&set);
    std::vector<int> result;
    if (::sched_getaffinity(0, sizeof set, &set) == 0) {
      for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &set)) {
          result.push_back(cpu);
        }
      }
    }
    return result;
  }

  std::optional<Space> space(const std::string& path) override {
    struct statvfs facts {};
    if (::statvfs(path.c_str(), &facts) != 0) {
      return std::nullopt;
    }
    return Space{facts.f_blocks * facts.f_frsize, facts.f_bavail * facts.f_frsize};
  }

  double write_rate(const std::string& directory) override {
    constexpr std::size_t block = std::size_t{4} << 20;
    constexpr std::size_t blocks = 16;
    const Path path = Path(directory) / fmt::format(".muster-doctor.{}", ::getpid());
    auto& files = posix_file_system();
    const std::vector<std::byte> bytes(block, std::byte{0x5a});
    double seconds = 0;
    try {
      auto file = files.open(path, OpenMode::create_or_cut);
      const auto start = Clock::now();
      for (std::size_t at = 0; at < blocks; ++at) {
        file->write_at(at * block, bytes);
      }
      file->sync();
      seconds = std::chrono::duration<double>(Clock::now() - start).count();
    } catch (...) {
      files.remove(path);
      throw;
    }
    files.remove(path);
    return static_cast<double>(block * blocks) / seconds;
  }

  std::optional<DriverFacts> nvidia_driver() override { return Nvml().facts(); }

  bool has_gpu_module() override {
    return std::ranges::any_of(gpu_module_places(),
                               [](const Path& place) { return posix_file_system().exists(place); });
  }

  std::optional<std::string> nccl_version() override {
    const std::string torch = build_torch_libraries();
    for (const std::string& place :
         {std::string("libnccl.so.2"), torch + "/../../nvidia/nccl/lib/libnccl.so.2"}) {
      const Library library(place);
      const auto ask = library.find<int(int*)>("ncclGetVersion");
      int version = 0;
      if (ask != nullptr && ask(&version) == 0) {
        return nccl_words(version);
      }
    }
    return std::nullopt;
  }

  std::optional<std::string> pmix_version() override {
    const Library library("libpmix.so.2");
    const auto ask = library.find<const char*()>("PMIx_Get_version");
    if (ask == nullptr) {
      return std::nullopt;
    }
    const std::string text = ask();  // "OpenPMIx 4.2.2, repo rev: ..., build date"
    return std::string(trim(std::string_view(text).substr(0, text.find_first_of(",("))));
  }

  std::optional<std::string> torch_blas() override {
    const Library library(build_torch_libraries() + "/libtorch_cpu.so");
    if (!library) {
      return std::nullopt;
    }
    if (const auto ask = library.find<void(char*, int)>("MKL_Get_Version_String")) {
      std::array<char, 200> text{};
      ask(text.data(), static_cast<int>(text.size()));
      return mkl_words(text.data());
    }
    if (const auto ask = library.find<const char*()>("openblas_get_config")) {
      return std::string(ask());
    }
    return "a BLAS that tells no version";
  }

  bool has_sibling(const std::string& program) override {
    std::error_code error;
    const Path self = std::filesystem::read_symlink("/proc/self/exe", error);
    return !error && std::filesystem::exists(self.parent_path() / program);
  }
};

}  // namespace

World& system_world() {
  static SystemWorld world;
  return world;
}

}  // namespace muster
