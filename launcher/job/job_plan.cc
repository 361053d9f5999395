// SPDX-License-Identifier: Apache-2.0
#include "launcher/job/job_plan.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <csignal>

#include "launcher/engine/choose.h"
#include "launcher/engine/slurm_environment.h"
#include "launcher/engine/tool.h"
#include "launcher/program/metric_reader.h"
#include "launcher/program/opt_ml.h"
#include "launcher/program/program_job.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/stop_signals.h"
#include "runtime/base/text.h"
#include "runtime/comm/launch_context.h"

namespace muster {
namespace {

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

/// Every slot of the hosts, or every GPU, or one.
int settled_ranks(const JobSettings& job, const std::vector<Host>& hosts,
                  const Surroundings& world) {
  if (job.ranks > 0) {
    return job.ranks;
  }
  int slots = 0;
  for (const auto& host : hosts) {
    slots += std::max(host.slots, 1);
  }
  if (slots > 0) {
    return slots;
  }
  if (const auto slurm = slurm_job(world.environment); slurm && slurm->tasks > 1) {
    return slurm->tasks;
  }
  return std::max<int>(1, static_cast<int>(this_machine().gpus.size()));
}

std::vector<Host> nodes_of(const SlurmJob& job) {
  std::vector<Host> hosts;
  for (std::size_t i = 0; i < job.nodes.size(); ++i) {
    hosts.push_back({job.nodes[i], i < job.tasks_per_node.size() ? job.tasks_per_node[i] : 1});
  }
  return hosts;
}

/// As squeue tells it: a node that died is taken out of a job that goes on without it.
std::vector<std::string> slurm_nodes_now(const std::string& job) {
  const auto answer = run_tool({"squeue", "-h", "-j", job, "-o", "%N"}, std::chrono::seconds(10));
  return answer.ended.finished() ? expand_nodes(trim(answer.output)) : std::vector<std::string>{};
}

/// "aws", "gcp", "azure", or with the service's address: "aws://127.0.0.1:8080".
std::unique_ptr<NoticeSource> cloud_of(const std::string& text) {
  const auto colon = text.find("://");
  const std::string name = text.substr(0, colon);
  const std::string address = colon == std::string::npos ? "" : text.substr(colon + 3);
  if (name == "aws") {
    return cloud_notice(Cloud::aws, address);
  }
  if (name == "gcp") {
    return cloud_notice(Cloud::gcp, address);
  }
  if (name == "azure") {
    return cloud_notice(Cloud::azure, address);
  }
  throw Error(Fault::bad_input, fmt::format("notice_url = {}: write aws, gcp or azure, with the "
                                            "address of its metadata service where it "
                                            "is not the usual one: aws://127.0.0.1:8080",
                                            text));
}

/// A port that is free now. Whoever takes it in between makes the program's own rendezvous fail
/// with a sentence of its own.
int free_port() {
  const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  socklen_t size = sizeof address;
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return 29500;
  }
  return ntohs(address.sin_port);
}

RunPlan prepare(const JobSettings& job) {
  check_run_name(job.name);
  heed_log_level(job);
  const Surroundings world = surroundings();
  RunPlan plan;
  plan.name = job.name;
  plan.files.root = std::filesystem::absolute(Path(job.runs) / job.name);
  plan.launch.hosts = parse_hosts(job.hosts);
  plan.launch.ranks = settled_ranks(job, plan.launch.hosts, world);
  plan.launch.environment = without_places(world.environment);
  plan.launch.log_directory = plan.files.logs();
  const auto kind = choose_engine(job.engine, plan.launch.hosts, plan.launch.ranks, world);
  if (kind == EngineKind::slurm) {
    plan.launch.environment =
        world.environment;  // srun needs to know its job; ranks get their place from it
    plan.launch.hosts = nodes_of(*slurm_job(world.environment));
    plan.hosts_now = [id = slurm_job(world.environment)->id] { return slurm_nodes_now(id); };
  }
  plan.engine = make_engine(kind);
  plan.attempt.files = plan.files;
  plan.attempt.grace = milliseconds(job.grace);
  plan.attempt.hang_after = milliseconds(job.hang_after.value_or(30));
  plan.launch.hang_after = plan.attempt.hang_after;
  plan.restarts.per_hour = job.restarts_per_hour;
  plan.min_ranks = job.min_ranks;
  plan.max_runtime = job.max_runtime;
  for (const auto& entry : job.slurm.entries) {
    if (entry.key == "srun") {
      const auto more = shell_words(entry.value);
      plan.launch.engine_words.insert(plan.launch.engine_words.end(), more.begin(), more.end());
    }
  }
  if (kind != EngineKind::slurm) {
    plan.launch.engine_words.clear();
  }
  if (const auto slurm = slurm_job(world.environment)) {
    plan.slurm_job = slurm->id;
    plan.notices.push_back(slurm_notice(slurm->id));
  }
  if (!job.notice_file.empty()) {
    plan.notices.push_back(file_notice(job.notice_file, Notice::file));
  }
  if (!job.notice_url.empty()) {
    plan.notices.push_back(cloud_of(job.notice_url));
  }
  return plan;
}

RunPlan plan_training(const JobSettings& job, const std::string& rank_program) {
  RunPlan plan = prepare(job);
  const Path beside = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "muster-rank";
  const Path program = rank_program.empty() ? beside : Path(rank_program);
  if (!posix_file_system().exists(program)) {
    throw Error(
        Fault::bad_input,
        fmt::format(
            "there is no {}: this installation was built without libtorch, so it cannot train "
            "(./bootstrap build fetches it); muster run and muster ask-tell work without",
            program.string()));
  }
  plan.launch.command = {program.string(), plan.files.config().string(), "--name=" + job.name,
                         "--runs=" + plan.files.root.parent_path().string()};
  plan.launch.threads = job.train.threads.value_or(0);
  plan.launch.on_cpu = job.train.device == "cpu";
  return plan;
}

/// What the lines of rank 0 say of the metrics, into the file that a program may write itself.
std::function<void(int, std::string_view)> metrics_to_file(const ProgramSettings& program,
                                                           const Path& file) {
  if (program.metrics.empty()) {
    return {};
  }
  LineMetrics::Definitions definitions;
  for (const auto& entry : program.metrics) {
    definitions.emplace_back(entry.key, entry.value);
  }
  auto metrics = std::make_shared<LineMetrics>(definitions);  // std::function copies
  auto step = std::make_shared<std::uint64_t>(0);
  return [metrics, step, file](int rank, std::string_view line) {
    if (rank != 0) {
      return;
    }
    for (const auto& point : metrics->read(line)) {
      const nlohmann::ordered_json record{{"step", ++*step}, {point.name, point.value}};
      posix_file_system().open(file, OpenMode::append)->append(as_bytes(record.dump() + "\n"));
    }
  };
}

RunPlan plan_program(const ProgramSettings& program) {
  RunPlan plan = prepare(program.job);
  plan.launch.foreign = true;
  plan.launch.threads = program.threads;
  plan.launch.bind = program.job.bind;
  plan.attempt.speaks_page = false;
  ProgramJob description;
  description.name = program.job.name;
  description.directory = plan.files.root;
  description.command = shell_words(program.command);
  description.style = argument_style(program.arguments);
  for (const auto& entry : program.hyperparameters) {
    description.hyperparameters.emplace_back(entry.key, entry.value);
  }
  for (const auto& entry : program.channels) {
    description.channels.push_back({.name = entry.key, .path = entry.value, .content_type = ""});
  }
  const Machine machine = this_machine();
  description.cpus = program.cpus.value_or(static_cast<int>(machine.cpus.size()));
  description.gpus = program.gpus.value_or(static_cast<int>(machine.gpus.size()));
  plan.launch.command = bind_opt_ml_if_named(
      command_line(description), std::filesystem::current_path(), tree_root(description));
  plan.on_line = metrics_to_file(program, plan.files.root / "metrics.jsonl");
  if (!plan.launch.hosts.empty()) {
    description.hosts.clear();
    for (const auto& host : plan.launch.hosts) {
      description.hosts.push_back(host.name);
    }
    description.current_host = description.hosts.front();
  }
  make_tree(description);
  for (auto& [name, value] : program_environment(description)) {
    plan.launch.environment[name] = value;
  }
  const std::string master =
      plan.launch.hosts.empty() ? "127.0.0.1" : plan.launch.hosts.front().name;
  const int port = free_port();
  plan.launch.environment["MASTER_ADDR"] = master;
  plan.launch.environment["MASTER_PORT"] = std::to_string(port);
  plan.launch.of_seat = [master, port](const Seat& seat) {
    Environment variables;
    for (auto& [name, value] : rendezvous_environment(seat.rank, seat.size, seat.local_rank,
                                                      seat.local_size, master, port)) {
      variables[name] = value;
    }
    return variables;
  };
  return plan;
}

/// Refuses to continue a run with other settings, unless it came to nothing; writes config.ini. A
/// code where nothing is left to do.
std::optional<int> settle_configuration(const Keys& keys, const RunPlan& plan,
                                        const std::string& resolved) {
  const auto& files = plan.files;
  const auto before = read_file_if_there(files.config());
  if (before && !files.came_to_nothing()) {
    require_same_settings(keys, resolved, *before, plan.name, files.root.string());
    const auto status = read_file_if_there(files.status());
    const bool finished =
        status && status_from_json(*status, files.status().string()).state() == state::completed;
    if (finished && trim(*before) == trim(resolved)) {
      fmt::print("{} has finished: its results are in {} (muster show {})\n", plan.name,
                 files.root.string(), plan.name);
      return exit_finished;
    }
  }
  posix_file_system().make_directory(files.root);
  write_file_durably(files.config(), resolved);
  return std::nullopt;
}

int run_job(RunPlan plan) {
  std::signal(SIGPIPE, SIG_IGN);  // a console that closes is no reason to end
  Mailbox mailbox;
  const StopSignals signals([&mailbox](int signal) { mailbox.signal(signal); });
  posix_file_system().make_directory(plan.files.checkpoints());
  return Supervisor(std::move(plan), mailbox).run();
}

}  // namespace

namespace {

/// What the managed service tells a program, and here whoever wants to.
void describe_contract(Keys& keys, ProgramSettings& program) {
  keys.add("arguments", program.arguments, "How the program is told its hyper-parameters")
      .one_of({"plain", "hydra", "sagemaker2", "sagemaker3"});
  keys.add("cpus", program.cpus, "Cores that SM_NUM_CPUS names").at_least(1).may_change();
  keys.add("gpus", program.gpus, "Cards that SM_NUM_GPUS names").at_least(0).may_change();
  keys.open_section("hyperparameter", program.hyperparameters, "An argument of the program");
  keys.open_section("data", program.channels, "Path of a data channel");
  keys.open_section("metric", program.metrics, "Regular expression over the output");
}

}  // namespace

void describe_program(Keys& keys, ProgramSettings& program) {
  describe_run(keys, program.job, "the program's name");
  keys.add("command", program.command, "The program and its words; usually given behind --")
      .placeholder("WORDS");
  keys.add("threads", program.threads, "Threads of a rank; 0 divides the cores")
      .at_least(0)
      .may_change();
  describe_contract(keys, program);
}

int settled_ranks(const JobSettings& job) {
  return settled_ranks(job, parse_hosts(job.hosts), surroundings());
}

int train(const Keys& keys, const JobSettings& job, const Resolved& resolved,
          const std::string& rank_program) {
  auto plan = plan_training(job, rank_program);
  const auto code = settle_configuration(keys, plan, resolved.file_text);
  return code ? *code : run_job(std::move(plan));
}

int run_program(const Keys& keys, const ProgramSettings& program, const Resolved& resolved) {
  auto plan = plan_program(program);
  const auto code = settle_configuration(keys, plan, resolved.file_text);
  return code ? *code : run_job(std::move(plan));
}

std::string program_name(const std::vector<std::string>& command) {
  for (const auto& word : command) {
    const Path path(word);
    if (path.extension() == ".py" || path.extension() == ".sh") {
      return path.stem().string();
    }
  }
  return command.empty() ? "" : Path(command.front()).filename().string();
}

}  // namespace muster
