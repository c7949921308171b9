//! The admin token: kept in the data folder, and published to the same user's command line.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The token's file in the data folder.
pub const FILE: &str = "admin-token";

/// Why there is no token. Nothing was changed, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the token in {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// Others on this machine can read the file.
    #[error("{} has mode {mode:o}, so that others can read the token: run `chmod 600` on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file's content is no token.
    #[error(
        "{} holds no token: one line of {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible ASCII characters",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written; it may be there in part under another name.
    #[error("cannot write the token to {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// Neither `XDG_CONFIG_HOME` nor `HOME` names a folder.
    #[error("there is no folder for settings: neither XDG_CONFIG_HOME nor HOME is an absolute path")]
    NoConfigFolder,
}

/// The data folder's token; made at the first start.
///
/// # Errors
/// When the file cannot be read or written, others can read it, or it holds no token.
pub fn read_or_create(data: &Path) -> Result<String, TokenError> {
    let path = data.join(FILE);
    match read(&path) {
        Err(TokenError::Read { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => {
            let token = fresh();
            write(&path, &token)?;
            Ok(token)
        }
        other => other,
    }
}

/// A new token: 32 random bytes.
#[must_use]
pub fn fresh() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

/// The token that a file holds.
///
/// # Errors
/// When it cannot be read, others can read it, or it holds no token.
pub fn read(path: &Path) -> Result<String, TokenError> {
    let failed = |reason| TokenError::Read { path: path.into(), reason };
    let mut file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TokenError::Exposed { path: path.into(), mode });
    }
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(TOKEN_BYTES_MAX as u64 + 2).read_to_end(&mut bytes).map_err(failed)?;
    let token = bytes.trim_ascii_end();
    let fits = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len()) && token.iter().all(u8::is_ascii_graphic);
    let token = std::str::from_utf8(token).ok().filter(|_| fits);
    token.map(str::to_owned).ok_or_else(|| TokenError::Malformed { path: path.into() })
}

/// Puts the token where the same user's command line finds it by the silo's address.
///
/// # Errors
/// When there is no such place, or it cannot be written.
pub fn publish(address: SocketAddr, token: &str) -> Result<PathBuf, TokenError> {
    publish_in(&config_folder()?, address, token)
}

fn publish_in(config: &Path, address: SocketAddr, token: &str) -> Result<PathBuf, TokenError> {
    let path = published_in(config, &address.ip().to_string(), address.port());
    let folder = path.parent().unwrap_or(config);
    let failed = |reason| TokenError::Write { path: path.clone(), reason };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed)?;
    write(&path, token)?;
    Ok(path)
}

/// Where the token of the silo at that host and port is published.
///
/// # Errors
/// When there is no such place.
pub fn published_path(host: &str, port: u16) -> Result<PathBuf, TokenError> {
    Ok(published_in(&config_folder()?, host, port))
}

fn published_in(config: &Path, host: &str, port: u16) -> PathBuf {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    // One silo has several names; the file has one.
    let host = match host.parse() {
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ipv6Addr::LOCALHOST.to_string(),
        Err(_) if host == "localhost" => Ipv4Addr::LOCALHOST.to_string(),
        Ok(_) | Err(_) => host,
    };
    // A name from a URL must not lead elsewhere.
    let host = host.replace(['/', '\0'], "_");
    config.join("quark").join("tokens").join(format!("{host}_{port}"))
}

fn config_folder() -> Result<PathBuf, TokenError> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".config"));
    absolute("XDG_CONFIG_HOME").or_else(home).ok_or(TokenError::NoConfigFolder)
}

/// Writes a file that is there whole or not at all, for its owner only.
fn write(path: &Path, token: &str) -> Result<(), TokenError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let written = || -> io::Result<()> {
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        writeln!(file, "{token}")?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    written().map_err(|reason| TokenError::Write { path: path.into(), reason })
}

const TOKEN_BYTES_MIN: usize = 16;
const TOKEN_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_token_is_made_once() {
        let data = tempfile::tempdir().unwrap();
        let token = read_or_create(data.path()).unwrap();
        assert_eq!(token.len(), 64);
        assert!(token.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(mode(&data.path().join(FILE)), 0o600);
        assert_eq!(read_or_create(data.path()).unwrap(), token);
    }

    #[test]
    fn a_file_that_is_no_token_is_an_error() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(FILE);
        for content in ["", "short\n", "with a space in the middle\n", &"x".repeat(600)] {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(read_or_create(data.path()), Err(TokenError::Malformed { .. })), "{content:?}");
        }
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_or_create(data.path()), Err(TokenError::Exposed { mode: 0o640, .. })));
        assert!(matches!(read_or_create(&path.join("no")), Err(TokenError::Read { .. })));
        assert!(matches!(read_or_create(&data.path().join("no")), Err(TokenError::Write { .. })));
    }

    #[test]
    fn a_published_token_is_found_by_any_name_of_the_silo() {
        let config = tempfile::tempdir().unwrap();
        let path = publish_in(config.path(), "0.0.0.0:7070".parse().unwrap(), "0123456789abcdef").unwrap();
        publish_in(config.path(), "127.0.0.1:7070".parse().unwrap(), "0123456789abcdeF").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "0.0.0.0"] {
            assert_eq!(published_in(config.path(), host, 7070), path);
        }
        assert_eq!(read(&path).unwrap(), "0123456789abcdeF");
        assert_eq!(published_in(config.path(), "[::1]", 1), config.path().join("quark/tokens/::1_1"));
        assert_eq!(published_in(config.path(), "../../x", 1).parent(), path.parent());
    }
}
