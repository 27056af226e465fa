//! Development tasks of alppaca, `cargo xtask NAME`.

mod bench;
mod book;
mod clients;
mod fuzz;
mod go_programs;
mod image;
mod kubernetes;
mod machine;
mod openssh;
mod outcome;
mod package;
mod pins;
mod python;
mod shell;
mod suite;
mod tools;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development tasks of alppaca")]
enum Task {
    /// Install what the tests need, then run them all
    Test(suite::Options),
    /// Fuzz the parsers for a while, without nightly Rust
    Fuzz(fuzz::Options),
    /// Have all clients work at once while the upstream fails and the daemon is restarted and killed
    Soak(suite::SoakOptions),
    /// Have many hosts live for years in virtual time, with outages, suspends, wrong clocks and restarts
    Years(suite::YearsOptions),
    /// Measure the daemon against nginx on this machine
    Bench(bench::Options),
    #[command(hide = true)]
    Harm(bench::hostile::Options),
    /// Make the packages that users install, with checksums
    Package(package::Options),
    /// Try those packages before they are published
    CheckPackages(package::CheckOptions),
    /// Build the documentation as a book
    Book,
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Test(options) => suite::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Soak(options) => suite::soak(&options),
        Task::Years(options) => suite::years(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Harm(options) => bench::hostile::harm(&options),
        Task::Package(options) => package::run(&options),
        Task::CheckPackages(options) => package::check(&options),
        Task::Book => book::run(),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}
