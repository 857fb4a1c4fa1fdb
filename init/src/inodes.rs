//! How many files a file system of memory may have. Each takes kernel memory beside what is in it, about a kibibyte, which
//! its size does not count: without a bound, empty files would fill the machine. Pure.

/// Bytes of size for each inode: what mke2fs(8) gives the disk of a node.
const BYTES_PER_INODE: u64 = 16 << 10;
/// However small it is: a limit of a few MiB is for data, and may be meant for many small files. 16 MiB of kernel memory.
const LEAST: u64 = 16 << 10;

/// `nr_inodes` of a tmpfs with this `size` in bytes on a machine with so much `memory`. Without a size a tmpfs has half of
/// the memory (tmpfs(5)), and more than that it can never hold.
pub fn of(size: Option<u64>, memory: u64) -> u64 {
    let most = memory / 2;
    (size.unwrap_or(most).min(most) / BYTES_PER_INODE).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn a_file_system_of_memory_has_as_many_inodes_as_a_disk_would_have() {
        const GIB: u64 = 1 << 30;
        for (size, memory, inodes) in [
            // Without a size there is a bound, too.
            (None, 8 * GIB, 256 << 10),
            (None, GIB / 4, 16 << 10),
            (None, 0, 16 << 10),
            (Some(GIB), 8 * GIB, 64 << 10),
            (Some(1), 8 * GIB, 16 << 10),
            (Some(64 * GIB), 8 * GIB, 256 << 10),
            (Some(u64::MAX), u64::MAX, u64::MAX / 2 / (16 << 10)),
        ] {
            assert_eq!(of(size, memory), inodes, "{size:?} of {memory}");
        }
    }
}
