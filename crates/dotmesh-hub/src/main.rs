//! The program `dothub`.

/// Gives back what is not used any more: a server that was busy once does not stay large.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    dotmesh_hub::cli::run()
}
