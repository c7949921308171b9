//! `quark silo`: flags in, a silo that runs until it is told to stop.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use quark_core::manifest::MemoryProfile;
use quark_silo::api::{Failure, codes};
use quark_silo::gateway::token;
use quark_silo::{RunError, SiloConfig, StartError, StoreConfig};
use tracing_subscriber::EnvFilter;

use crate::exit::{Done, Exit, usage};
use crate::output::{Output, may_colour};
use crate::units;

/// As in a token file.
const TOKEN_BYTES_MIN: usize = 16;

const EXAMPLES: &str = "\
Examples:
  quark silo --data ./data                  a silo that keeps its actors in ./data
  quark silo --memory --http 127.0.0.1:0    one that keeps nothing, on a free port

The first start makes an admin token in DIR/admin-token, for its owner only, and publishes it to
the quark command of the same user. Ctrl-C or SIGTERM stops the silo; nothing acknowledged is lost.";

/// Start a silo.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SiloOptions {
    /// The folder that keeps actors' state; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "./data", conflicts_with = "memory")]
    pub(crate) data: PathBuf,
    /// Keep everything in memory: gone when the silo stops.
    #[arg(long)]
    pub(crate) memory: bool,
    /// Where to listen. Beyond loopback every request takes the token.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070", value_parser = listen_address)]
    pub(crate) http: SocketAddr,
    /// Another name that requests may give the silo in their Host header; may be repeated.
    #[arg(long = "allow-host", value_name = "HOST")]
    pub(crate) allowed_hosts: Vec<String>,
    /// A file with the admin token, mode 600; else QUARK_TOKEN, else admin-token in the data folder.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The most actors in memory; by default what this machine can hold.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) capacity: Option<u32>,
    /// How actors lie in memory whose manifest does not say: roomy (64 MiB for each, woken fastest) or
    /// dense (512 KiB for each, as many as can be). `quark doctor` compares them.
    #[arg(long, value_name = "PROFILE", default_value = "roomy", value_parser = memory_profile)]
    pub(crate) memory_profile: MemoryProfile,
    /// Threads that run turns; by default one for each processor.
    #[arg(long, value_name = "N", value_parser = workers)]
    pub(crate) workers: Option<usize>,
    /// How long a call waits that does not say so itself.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = units::duration)]
    pub(crate) default_timeout: Duration,
    /// Refuse writes while the data folder's disk has less room than this.
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = units::bytes)]
    pub(crate) free_space_floor: u64,
    /// What to log: error, warn, info, debug, trace, or targets as in `info,quark_silo=debug`.
    #[arg(long, value_name = "LEVEL", env = "QUARK_LOG", default_value = "info")]
    pub(crate) log: String,
    /// How to log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// The shape of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object on each line.
    Json,
}

pub(crate) fn run(options: SiloOptions, out: &mut Output<'_>) -> Done {
    start_log(&options)?;
    let config = SiloConfig {
        store: if options.memory { StoreConfig::Memory } else { StoreConfig::Folder(options.data) },
        http: options.http,
        allowed_hosts: options.allowed_hosts,
        token: admin_token(options.token_file.as_deref())?,
        capacity: options.capacity,
        memory_profile: options.memory_profile,
        workers: options.workers,
        default_timeout: options.default_timeout,
        free_space_floor: options.free_space_floor,
        ..SiloConfig::default()
    };
    // Whoever started it on port 0 reads here where it is.
    quark_silo::run(config, |address| out.said(format_args!("listening on http://{address}")))
        .map_err(|error| not_run(&error))?;
    Ok(Exit::Done)
}

/// The token that was given; none leaves it to the data folder.
fn admin_token(file: Option<&Path>) -> Result<Option<String>, Failure> {
    if let Some(file) = file {
        return token::read(file).map(Some).map_err(|error| usage(error.to_string()));
    }
    match std::env::var("QUARK_TOKEN") {
        Err(_) => Ok(None),
        Ok(token) if token.is_empty() => Ok(None),
        Ok(token) if token.len() >= TOKEN_BYTES_MIN && token.bytes().all(|b| b.is_ascii_graphic()) => Ok(Some(token)),
        Ok(_) => Err(usage(format!("QUARK_TOKEN is no token: at least {TOKEN_BYTES_MIN} visible ASCII characters"))
            .next("make one with `openssl rand -hex 32`, or unset QUARK_TOKEN")),
    }
}

fn not_run(error: &RunError) -> Failure {
    if matches!(error, RunError::NoToken(_) | RunError::Start(StartError::Capacity(_))) {
        return usage(error.to_string());
    }
    let failure = Failure::new("silo-failed", error.to_string());
    if matches!(error, RunError::Bind(_)) {
        return failure.next("is a silo running there? choose another address with --http");
    }
    failure
}

/// Lines go to standard error; standard output is for what a command was asked for.
fn start_log(options: &SiloOptions) -> Result<(), Failure> {
    let filter: EnvFilter = EnvFilter::builder().parse(&options.log).map_err(|error| {
        usage(format!("`{}` is no log level: {error}", options.log)).next("write error, warn, info, debug or trace")
    })?;
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(may_colour(&io::stderr())).with_writer(io::stderr);
    let started = match options.log_format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(|error| Failure::new(codes::INTERNAL, format!("the log does not start: {error}")))
}

/// `ADDR:PORT`, `NAME:PORT`, `:PORT` on loopback.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_owned() };
    full.to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .ok_or_else(|| "write an address and a port, for example 127.0.0.1:7070".to_owned())
}

fn memory_profile(text: &str) -> Result<MemoryProfile, String> {
    MemoryProfile::parse(text).ok_or_else(|| "write roomy or dense".to_owned())
}

fn workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1024) => Ok(count),
        Ok(_) | Err(_) => Err("write a number from 1 to 1024".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_are_read() {
        assert_eq!(listen_address(":0"), Ok(SocketAddr::from(([127, 0, 0, 1], 0))));
        assert_eq!(listen_address("0.0.0.0:80"), Ok(SocketAddr::from(([0, 0, 0, 0], 80))));
        assert!(listen_address("[::1]:7070").is_ok_and(|address| address.is_ipv6()));
        for bad in ["", "7070", "localhost", "localhost:http", "1.2.3.4:99999"] {
            assert!(listen_address(bad).is_err(), "{bad}");
        }
    }
}
