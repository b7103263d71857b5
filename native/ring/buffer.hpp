// 64-byte-aligned memory that is reused instead of freed, so hot loops never reach the system allocator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace cipherformer {

class BufferPool;

// A block of 64-bit words from a pool, returned to it on destruction. Move-only. Contents start undefined.
class Buffer {
public:
    Buffer() = default;
    Buffer(Buffer&& other) noexcept { swap(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        Buffer taken(std::move(other));
        swap(taken);
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer();

    std::uint64_t* data() { return data_; }
    const std::uint64_t* data() const { return data_; }
    std::size_t size() const { return size_; }  // in words
    bool empty() const { return size_ == 0; }
    std::uint64_t& operator[](std::size_t i) { return data_[i]; }
    std::uint64_t operator[](std::size_t i) const { return data_[i]; }

    void swap(Buffer& other) noexcept {
        std::swap(pool_, other.pool_);
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
    }

private:
    friend class BufferPool;
    std::shared_ptr<BufferPool> pool_;  // keeps the pool alive as long as any buffer
    std::uint64_t* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;  // of the block, in words
};

// Thread-safe. Freed blocks are kept, up to `keep_bytes` in all, and serve requests of up to a quarter less than their
// size; beyond that, blocks of the size that was returned longest ago go back to the system. Blocks of 2 MiB and more are aligned for huge pages and advised to use them.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
public:
    static std::shared_ptr<BufferPool> create(std::size_t keep_bytes = std::size_t{2} << 30);
    ~BufferPool();
    BufferPool(const BufferPool&) = delete;
    BufferPool& operator=(const BufferPool&) = delete;

    Buffer take(std::size_t words);       // undefined contents; throws std::bad_alloc
    Buffer take_zero(std::size_t words);  // all zero
    void trim();                          // frees every block that is not in use
    std::size_t kept_bytes() const;

private:
    friend class Buffer;
    explicit BufferPool(std::size_t keep_bytes);
    void give_back(std::uint64_t* data, std::size_t capacity) noexcept;

    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace cipherformer
