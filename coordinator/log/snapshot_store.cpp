#include "coordinator/log/snapshot_store.hpp"

#include "coordinator/core/assert.hpp"
#include "coordinator/log/bytes.hpp"

#include <fmt/core.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

namespace concordat::log {
namespace {

constexpr std::string_view snapshot_magic = "CCDTSNP\n";
constexpr std::uint32_t snapshot_format_version = 1;
constexpr std::size_t fixed_header_bytes = 8 + 4 + 4 + 8 + 8 + 8 + 8;
constexpr std::size_t digest_bytes = 32;
constexpr std::string_view snapshot_prefix = "snapshot-";
constexpr std::size_t snapshot_name_bytes = 9 + 20 + 1 + 20;

class Sha256 {
public:
    Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
        CONCORDAT_ASSERT(context_ != nullptr &&
                         EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
    }
    void add(std::string_view bytes) {
        CONCORDAT_ASSERT(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
    }
    [[nodiscard]] std::string finish() {
        std::array<unsigned char, digest_bytes> digest{};
        unsigned int length = 0;
        CONCORDAT_ASSERT(EVP_DigestFinal_ex(context_.get(), digest.data(), &length) == 1 &&
                         length == digest_bytes);
        return {reinterpret_cast<const char*>(digest.data()), digest.size()};
    }

private:
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

std::string encode_header(const SnapshotMetadata& metadata, std::uint64_t data_bytes) {
    std::string header;
    ByteWriter writer{header};
    writer.bytes(snapshot_magic);
    writer.number(snapshot_format_version);
    writer.number(static_cast<std::uint32_t>(metadata.configuration.size()));
    writer.number(metadata.index);
    writer.number(metadata.term);
    writer.number(metadata.configuration_index);
    writer.number(data_bytes);
    writer.bytes(metadata.configuration);
    return header;
}

} // namespace

std::string snapshot_name(const SnapshotMetadata& metadata) {
    return fmt::format("{}{:020}-{:020}", snapshot_prefix, metadata.index, metadata.term);
}

bool is_snapshot_name(std::string_view name) {
    return name.starts_with(snapshot_prefix) && name.size() == snapshot_name_bytes &&
           std::ranges::all_of(name.substr(snapshot_prefix.size()), [](char letter) {
               return (letter >= '0' && letter <= '9') || letter == '-';
           });
}

IoResult<void> write_snapshot(FileSystem& files, const FileSystem::Path& directory,
                              const SnapshotMetadata& metadata, std::string_view data) {
    const FileSystem::Path path = directory / snapshot_name(metadata);
    FileSystem::Path temporary = path;
    temporary += ".tmp";
    auto file = files.open(temporary);
    if (!file) {
        return std::unexpected(file.error());
    }
    const std::string header = encode_header(metadata, data.size());
    Sha256 digest;
    digest.add(header);
    digest.add(data);
    auto written =
        in_order([&] { return (*file)->truncate(0); }, [&] { return (*file)->write_at(0, header); },
                 [&] { return (*file)->write_at(header.size(), data); },
                 [&] { return (*file)->write_at(header.size() + data.size(), digest.finish()); },
                 [&] { return (*file)->sync(); }, [&] { return files.rename(temporary, path); },
                 [&] { return files.sync_directory(directory); });
    if (!written) {
        static_cast<void>(files.remove(temporary)); // the first error is the one to report
    }
    return written;
}

IoResult<Snapshot> read_snapshot(FileSystem& files, const FileSystem::Path& path) {
    const auto content = files.read(path);
    if (!content) {
        return std::unexpected(content.error());
    }
    const auto damaged = [&](std::string_view what) {
        return std::unexpected(IoError{EILSEQ, fmt::format("{}: {}", path.string(), what)});
    };
    if (content->size() < fixed_header_bytes + digest_bytes) {
        return damaged("the file is cut off");
    }
    const std::string_view body =
        std::string_view{*content}.substr(0, content->size() - digest_bytes);
    Sha256 digest;
    digest.add(body);
    if (digest.finish() != std::string_view{*content}.substr(body.size())) {
        return damaged("the digest is wrong");
    }
    ByteReader reader{body};
    if (reader.bytes(snapshot_magic.size()) != snapshot_magic ||
        reader.number<std::uint32_t>() != snapshot_format_version) {
        return damaged("not a snapshot of a version known here");
    }
    Snapshot snapshot;
    const auto configuration_bytes = reader.number<std::uint32_t>();
    snapshot.metadata.index = reader.number<std::uint64_t>();
    snapshot.metadata.term = reader.number<std::uint64_t>();
    snapshot.metadata.configuration_index = reader.number<std::uint64_t>();
    const auto data_bytes = reader.number<std::uint64_t>();
    snapshot.metadata.configuration = reader.bytes(configuration_bytes);
    snapshot.data = std::make_shared<const std::string>(reader.bytes(data_bytes));
    if (!reader.ok() || reader.remaining() != 0 ||
        path.filename().string() != snapshot_name(snapshot.metadata)) {
        return damaged("content and name contradict each other");
    }
    return snapshot;
}

} // namespace concordat::log
