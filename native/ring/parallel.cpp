#include "ring/parallel.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

namespace cipherformer {
namespace {

// One parallel_for in progress; it lives on the caller's stack until no worker holds it.
struct Job {
    const std::function<void(std::size_t)>* task;
    std::size_t count;
    std::size_t next = 0;     // first index not yet begun
    std::size_t running = 0;  // tasks begun and not ended
    std::exception_ptr error = nullptr;
    std::condition_variable done{};

    bool exhausted() const { return next >= count; }
};

}  // namespace

struct ThreadPool::State {
    std::mutex mutex;
    std::condition_variable work;
    std::deque<Job*> jobs;  // those with tasks not yet begun
    std::vector<std::thread> workers;
    unsigned threads = 1;
    unsigned callers = 0;  // inside parallel_for
    bool stopping = false;

    // Runs tasks of one job until none is left to begin. `lock` is held on entry and exit.
    void drain(Job& job, std::unique_lock<std::mutex>& lock) {
        while (!job.exhausted()) {
            const std::size_t index = job.next++;
            ++job.running;
            if (job.exhausted()) forget(job);
            lock.unlock();
            std::exception_ptr error;
            try {
                (*job.task)(index);
            } catch (...) {
                error = std::current_exception();
            }
            lock.lock();
            if (error) {
                if (!job.error) job.error = error;
                job.next = job.count;
                forget(job);
            }
            if (--job.running == 0 && job.exhausted()) job.done.notify_all();
        }
    }

    void forget(Job& job) { jobs.erase(std::remove(jobs.begin(), jobs.end(), &job), jobs.end()); }

    void stop() {
        {
            const std::lock_guard lock(mutex);
            stopping = true;
        }
        work.notify_all();
        for (std::thread& worker : workers) worker.join();
    }

    void work_until_stopped() {
        std::unique_lock lock(mutex);
        for (;;) {
            work.wait(lock, [this] { return stopping || !jobs.empty(); });
            if (stopping) return;
            drain(*jobs.front(), lock);
        }
    }
};

// A thread inside parallel_for, for as long as this lives.
struct ThreadPool::Caller {
    State& state;
    unsigned others;  // inside when this one came
    explicit Caller(State& pool) : state(pool) {
        const std::lock_guard lock(state.mutex);
        others = state.callers++;
    }
    ~Caller() {
        const std::lock_guard lock(state.mutex);
        --state.callers;
    }
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;
};

ThreadPool::ThreadPool(unsigned threads) : state_(std::make_unique<State>()) {
    if (threads == 0) throw std::invalid_argument("a thread pool needs at least one thread, the caller's");
    state_->threads = threads;
    try {
        for (unsigned i = 1; i < threads; ++i)
            state_->workers.emplace_back([state = state_.get()] { state->work_until_stopped(); });
    } catch (...) {  // the system has no more threads
        state_->stop();
        throw;
    }
}

ThreadPool::~ThreadPool() { state_->stop(); }

unsigned ThreadPool::threads() const { return state_->threads; }

void ThreadPool::parallel_for(std::size_t count, const std::function<void(std::size_t)>& task) {
    const Caller caller(*state_);
    if (caller.others + 1 >= state_->threads || count <= 1) {
        for (std::size_t i = 0; i < count; ++i) task(i);
        return;
    }
    Job job{&task, count};
    std::unique_lock lock(state_->mutex);
    state_->jobs.push_back(&job);
    state_->work.notify_all();
    state_->drain(job, lock);
    job.done.wait(lock, [&job] { return job.running == 0; });
    if (job.error) std::rethrow_exception(job.error);
}

}  // namespace cipherformer
