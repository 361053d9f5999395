// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/local_programs.h"

#include <utility>

#include "runtime/base/text.h"

namespace muster {

class LocalPrograms::Link final : public WorkerLink {
 public:
  Link(ProgramTrialPlan plan, const Machine& machine, std::size_t slots, Clock& clock)
      : slots_(slots),
        worker_(std::move(plan), machine, slots, clock,
                [this](const WorkerEvent& said) { said_.push_back(line_of(said)); }) {}

  std::string name() const override { return "this machine"; }
  std::size_t slots() const override { return slots_; }
  void send(std::string_view lines) override {
    for (const auto& line : split(trim(lines), '\n')) {
      worker_.obey(order_from(line));
    }
  }
  std::optional<WorkerEnd> ended() override { return std::nullopt; }
  void receive(std::vector<std::string>& lines) override {
    worker_.advance();
    for (auto& line : std::exchange(said_, {})) {
      lines.push_back(std::move(line));
    }
  }
  void add_descriptors(std::vector<pollfd>& waits) const override {
    worker_.add_descriptors(waits);
  }

 private:
  std::size_t slots_;
  std::vector<std::string> said_;
  ProgramWorker worker_;
};

LocalPrograms::LocalPrograms(ProgramTrialPlan plan, Machine machine, std::size_t slots,
                             Clock& clock)
    : link_(std::make_unique<Link>(std::move(plan), machine, slots, clock)) {}
LocalPrograms::~LocalPrograms() = default;

std::vector<std::unique_ptr<WorkerLink>> LocalPrograms::joined() {
  std::vector<std::unique_ptr<WorkerLink>> links;
  if (link_) {
    links.push_back(std::move(link_));
  }
  return links;
}

}  // namespace muster
