// Work shared by a few threads, safe where other processes want the cores too. A stage is over when its pieces are
// done, not when every thread has been there: a thread that gets no core holds nobody up, the others do its share.
// Between calls the helpers sleep.
#pragma once
#include <immintrin.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace swarm {

// Of one stage: pieces handed out, and pieces done.
struct alignas(64) Progress { std::atomic<int> next{0}, done{0}; };

// One thread's way through the stages of a call. All threads make the same calls of `each` in the same order.
class Stages {
public:
    Stages(int threads, Progress* progress) : threads_(threads), progress_(progress) {}

    int threads() const { return threads_; }

    // A grain that gives every thread a few pieces.
    int grain(int items) const { return items / (4 * threads_) + 1; }

    // work(first, last) over 0..items, `grain` at a time; returns when all are done, by whatever thread. How items are
    // cut into pieces must not change results.
    template <class Work>
    void each(int items, int grain, Work work) {
        if (threads_ == 1) {
            work(0, items);
            return;
        }
        Progress& stage = *progress_++;
        for (int first; (first = stage.next.fetch_add(grain, std::memory_order_relaxed)) < items;) {
            const int last = first + grain < items ? first + grain : items;
            work(first, last);
            stage.done.fetch_add(last - first, std::memory_order_release);
        }
        for (int spins = 0; stage.done.load(std::memory_order_acquire) < items; spins++) {
            if (spins < 2000) _mm_pause();
            else sched_yield();  // whoever has the missing piece may need this core
        }
    }

private:
    const int threads_;
    Progress* progress_;
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

    // Runs `job` in this thread and in up to `threads` - 1 others; returns when nobody is in it any more.
    void run(int threads, const std::function<void()>& job) {
        std::lock_guard one_call(calls_);
        {
            std::lock_guard lock(state_);
            for (; helpers_ < threads - 1; helpers_++) std::thread([this, id = helpers_] { help(id); }).detach();
            job_ = &job;
            wanted_ = threads - 1;
            call_++;
        }
        wake_.notify_all();
        job();
        std::unique_lock lock(state_);
        job_ = nullptr;  // who has not come by now is not needed
        left_.wait(lock, [this] { return inside_ == 0; });
    }

private:
    void help(int id) {
        unsigned seen = 0;
        std::unique_lock lock(state_);
        while (true) {
            wake_.wait(lock, [&] { return job_ && call_ != seen && id < wanted_; });
            seen = call_;
            const auto* job = job_;
            inside_++;
            lock.unlock();
            (*job)();
            lock.lock();
            if (--inside_ == 0) left_.notify_one();
        }
    }

    std::mutex calls_, state_;
    std::condition_variable wake_, left_;
    const std::function<void()>* job_ = nullptr;
    int helpers_ = 0, wanted_ = 0, inside_ = 0;
    unsigned call_ = 0;
    const pid_t pid_ = getpid();
};

// job(stages) in `threads` threads, of at most `count` stages.
template <class Job>
void in_parallel(int threads, int count, Job job) {
    if (threads == 1) {
        Stages stages(1, nullptr);
        job(stages);
        return;
    }
    std::vector<Progress> progress(count);
    Team::instance().run(threads, [&] {
        Stages stages(threads, progress.data());
        job(stages);
    });
}

}  // namespace swarm
