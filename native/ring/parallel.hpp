// A small pool of threads for independent tasks. Waiting threads sleep; nothing spins, so two processes can share
// a machine without slowing each other more than their work does.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace cipherformer {

class ThreadPool {
public:
    // `threads` counts the caller: 1 starts no thread and runs everything inline. Throws std::invalid_argument for 0.
    explicit ThreadPool(unsigned threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    unsigned threads() const;

    // Calls task(0) ... task(count - 1), each once, in any order and on any thread; the caller works too. Returns when
    // all are done. The first exception is rethrown here after the running tasks end; tasks not yet begun are dropped.
    // May be called from several threads and from inside a task: a call always makes progress by itself, and keeps to its
    // own thread while as many calls are in progress as the pool has threads.
    void parallel_for(std::size_t count, const std::function<void(std::size_t)>& task);

private:
    struct State;
    struct Caller;
    std::unique_ptr<State> state_;
};

}  // namespace cipherformer
