#include "ring/buffer.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace cipherformer {
namespace {

constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::uint64_t* allocate(std::size_t words) {
    const std::size_t bytes = words * sizeof(std::uint64_t);
    const std::size_t alignment = bytes >= kHugePage ? kHugePage : kCacheLine;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    void* memory = std::aligned_alloc(alignment, rounded);
    if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (alignment == kHugePage) madvise(memory, rounded, MADV_HUGEPAGE);  // advice only: failure changes nothing
#endif
    return static_cast<std::uint64_t*>(memory);
}

}  // namespace

struct BufferPool::State {
    struct Blocks {
        std::vector<std::uint64_t*> list;  // never empty while it is in `free`
        std::size_t returned = 0;          // when the last one came back
    };
    mutable std::mutex mutex;
    std::map<std::size_t, Blocks> free;  // by words
    std::size_t clock = 0;
    std::size_t kept = 0;                                     // bytes in `free`
    std::size_t keep_limit = 0;

    std::uint64_t* pop(std::map<std::size_t, Blocks>::iterator place) {
        std::uint64_t* block = place->second.list.back();
        place->second.list.pop_back();
        kept -= place->first * sizeof(std::uint64_t);
        if (place->second.list.empty()) free.erase(place);
        return block;
    }

    std::map<std::size_t, Blocks>::iterator oldest() {
        return std::min_element(free.begin(), free.end(),
                                [](const auto& a, const auto& b) { return a.second.returned < b.second.returned; });
    }
};

Buffer::~Buffer() {
    if (data_ != nullptr) pool_->give_back(data_, capacity_);
}

std::shared_ptr<BufferPool> BufferPool::create(std::size_t keep_bytes) {
    return std::shared_ptr<BufferPool>(new BufferPool(keep_bytes));
}

BufferPool::BufferPool(std::size_t keep_bytes) : state_(std::make_unique<State>()) { state_->keep_limit = keep_bytes; }

BufferPool::~BufferPool() { trim(); }

Buffer BufferPool::take(std::size_t words) {
    Buffer buffer;
    if (words == 0) return buffer;
    {
        const std::lock_guard lock(state_->mutex);
        const auto found = state_->free.lower_bound(words);
        if (found != state_->free.end() && found->first - words <= words / 4) {
            buffer.capacity_ = found->first;
            buffer.data_ = state_->pop(found);
        }
    }
    if (buffer.data_ == nullptr) {
        buffer.data_ = allocate(words);
        buffer.capacity_ = words;
    }
    buffer.size_ = words;
    buffer.pool_ = shared_from_this();
    return buffer;
}

Buffer BufferPool::take_zero(std::size_t words) {
    Buffer buffer = take(words);
    if (words != 0) std::memset(buffer.data(), 0, words * sizeof(std::uint64_t));
    return buffer;
}

void BufferPool::give_back(std::uint64_t* data, std::size_t capacity) noexcept {
    const std::size_t bytes = capacity * sizeof(std::uint64_t);
    try {
        const std::lock_guard lock(state_->mutex);
        if (bytes <= state_->keep_limit) {
            while (state_->kept + bytes > state_->keep_limit) std::free(state_->pop(state_->oldest()));
            std::vector<std::uint64_t*> alone{data};  // so that no failure leaves an empty list behind
            const auto [place, fresh] = state_->free.try_emplace(capacity);
            State::Blocks& blocks = place->second;
            if (fresh)
                blocks.list = std::move(alone);
            else
                blocks.list.push_back(data);
            blocks.returned = ++state_->clock;
            state_->kept += bytes;
            return;
        }
    } catch (...) {  // no memory for the list: the block itself is freed below
    }
    std::free(data);
}

void BufferPool::trim() {
    const std::lock_guard lock(state_->mutex);
    for (auto& [words, blocks] : state_->free)
        for (std::uint64_t* block : blocks.list) std::free(block);
    state_->free.clear();
    state_->kept = 0;
}

std::size_t BufferPool::kept_bytes() const {
    const std::lock_guard lock(state_->mutex);
    return state_->kept;
}

}  // namespace cipherformer
