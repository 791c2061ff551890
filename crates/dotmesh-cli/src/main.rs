//! The program `dm`.

fn main() -> std::process::ExitCode {
    dotmesh_cli::run()
}
