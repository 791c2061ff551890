//! The program `dothub`.

fn main() -> std::process::ExitCode {
    dotmesh_hub::cli::run()
}
