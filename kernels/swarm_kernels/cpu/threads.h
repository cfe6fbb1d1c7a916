// Work shared by a few threads, safe where other processes want the cores too: whoever is free takes the next piece,
// nobody spins for long, and between calls the helpers sleep.
#pragma once
#include <immintrin.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace swarm {

// One call's stages: `each` splits a stage among the threads and returns when all of it is done.
class Stages {
public:
    explicit Stages(int threads) : threads_(threads) {}

    // work(first, last) over 0..items in pieces of `grain`, which must not depend on the number of threads where
    // results do. Every thread of the call makes the same calls in the same order.
    template <class Work>
    void each(int items, int grain, Work work) {
        if (threads_ == 1) {
            work(0, items);
            return;
        }
        for (int first; (first = next_.fetch_add(grain, std::memory_order_relaxed)) < items;)
            work(first, first + grain < items ? first + grain : items);
        wait();
    }

    int threads() const { return threads_; }

    // A grain that gives every thread a few pieces: one that is held up leaves the rest to the others.
    int grain(int items) const { return items / (4 * threads_) + 1; }

private:
    void wait() {
        int round = round_.load(std::memory_order_relaxed);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
            arrived_.store(0, std::memory_order_relaxed);
            next_.store(0, std::memory_order_relaxed);
            round_.store(round + 1, std::memory_order_release);
            return;
        }
        for (int spins = 0; round_.load(std::memory_order_acquire) == round; spins++) {
            if (spins < 2000) _mm_pause();
            else sched_yield();  // another process may hold the core that we wait for
        }
    }

    const int threads_;
    alignas(64) std::atomic<int> next_{0};
    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<int> round_{0};
};

// Helper threads that live as long as the process. One call at a time.
class Team {
public:
    static Team& instance() {
        static std::mutex guard;
        static Team* team = nullptr;
        std::lock_guard lock(guard);
        if (!team || team->pid_ != getpid()) team = new Team;  // threads do not survive a fork; what they left is lost
        return *team;
    }

    // Runs `job` in this thread and in `threads` - 1 others at once.
    void run(int threads, const std::function<void()>& job) {
        std::lock_guard one_call(calls_);
        {
            std::lock_guard lock(state_);
            for (; helpers_ < threads - 1; helpers_++) std::thread([this, id = helpers_] { help(id); }).detach();
            job_ = &job;
            wanted_ = busy_ = threads - 1;
            call_++;
        }
        wake_.notify_all();
        job();
        std::unique_lock lock(state_);
        done_.wait(lock, [this] { return busy_ == 0; });
    }

private:
    void help(int id) {
        unsigned seen = 0;
        std::unique_lock lock(state_);
        while (true) {
            wake_.wait(lock, [&] { return call_ != seen && id < wanted_; });
            seen = call_;
            const auto* job = job_;
            lock.unlock();
            (*job)();
            lock.lock();
            if (--busy_ == 0) done_.notify_one();
        }
    }

    std::mutex calls_, state_;
    std::condition_variable wake_, done_;
    const std::function<void()>* job_ = nullptr;
    int helpers_ = 0, wanted_ = 0, busy_ = 0;
    unsigned call_ = 0;
    const pid_t pid_ = getpid();
};

// job(stages) in `threads` threads.
template <class Job>
void in_parallel(int threads, Job job) {
    Stages stages(threads);
    if (threads == 1) job(stages);
    else Team::instance().run(threads, [&] { job(stages); });
}

}  // namespace swarm
