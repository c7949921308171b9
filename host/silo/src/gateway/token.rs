//! The token: made at the silo's first start, kept in its data folder, and published to the CLI of
//! the same user on the same machine.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The token's file in a silo's data folder.
pub const FILE: &str = "admin-token";
const BYTES_MIN: usize = 16;
const BYTES_MAX: usize = 256;
/// What the files and folders may be to others: nothing.
const OTHERS: u32 = 0o077;

/// Why there is no token. A token that was there is as it was.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A file or folder cannot be used.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which path.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// Others than its owner may read or write the file.
    #[error("{} has mode {mode:o}: others may use the token; run chmod 600 on it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} holds no token: {BYTES_MIN} to {BYTES_MAX} visible ASCII characters", .0.display())]
    Malformed(PathBuf),
    /// Neither `XDG_CONFIG_HOME` nor `HOME` is set.
    #[error("there is no configuration folder: neither XDG_CONFIG_HOME nor HOME is set")]
    NoConfigDir,
}

/// The token of a data folder, made now if there is none.
///
/// # Errors
/// When the file cannot be read or made, is open to others, or holds no token.
pub fn read_or_create(data: &Path) -> Result<String, TokenError> {
    let path = data.join(FILE);
    if path.exists() {
        return read(&path);
    }
    let token = fresh();
    write_private(&path, &token)?;
    Ok(token)
}

/// A token for a silo that keeps nothing: 32 random bytes in hex.
#[must_use]
pub fn fresh() -> String {
    use std::fmt::Write as _;
    rand::random::<[u8; 32]>().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The token in a file of one's own.
///
/// # Errors
/// When the file cannot be read, is open to others, or holds no token.
pub fn read(path: &Path) -> Result<String, TokenError> {
    let failed = |source| TokenError::Io { verb: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(TokenError::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX as u64 + 2).read_to_end(&mut bytes).map_err(failed)?;
    let text = bytes.trim_ascii();
    let fits = (BYTES_MIN..=BYTES_MAX).contains(&text.len());
    match std::str::from_utf8(text) {
        Ok(token) if fits && token.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(token.to_owned()),
        Ok(_) | Err(_) => Err(TokenError::Malformed(path.to_owned())),
    }
}

/// Writes the token where the CLI of this user looks for it; see [`published_at`].
///
/// # Errors
/// When there is no such place or it cannot be written; the silo works without.
pub fn publish(address: SocketAddr, token: &str) -> Result<PathBuf, TokenError> {
    let ip = match address.ip() {
        ip if ip.is_unspecified() && ip.is_ipv6() => "::1".to_owned(),
        ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
        ip => ip.to_string(),
    };
    let config = config_dir().ok_or(TokenError::NoConfigDir)?;
    publish_in(&config, &ip, address.port(), token)
}

fn publish_in(config: &Path, host: &str, port: u16, token: &str) -> Result<PathBuf, TokenError> {
    let path = file_in(config, host, port);
    if let Some(folder) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| TokenError::Io { verb: "make", path: folder.to_owned(), source })?;
    }
    write_private(&path, token)?;
    Ok(path)
}

/// Removes a published token, unless another silo has put its own there since.
pub fn withdraw(path: &Path, token: &str) {
    if read(path).is_ok_and(|found| found == token) {
        let _ = fs::remove_file(path);
    }
}

/// The token that a silo of this user published for `host` and `port`, if one did.
#[must_use]
pub fn published(host: &str, port: u16) -> Option<String> {
    let config = config_dir()?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let names: &[&str] = if bare == "localhost" { &["127.0.0.1", "::1"] } else { &[bare] };
    names.iter().find_map(|name| read(&file_in(&config, name, port)).ok())
}

/// Where the token for `host` and `port` is published: `quark/tokens/HOST_PORT` in the user's
/// configuration folder.
#[must_use]
pub fn published_at(host: &str, port: u16) -> Option<PathBuf> {
    config_dir().map(|config| file_in(&config, host, port))
}

fn file_in(config: &Path, host: &str, port: u16) -> PathBuf {
    // The host may come from a URL: it must stay one file name.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-');
    let host: String = host.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    config.join("quark").join("tokens").join(format!("{host}_{port}"))
}

fn config_dir() -> Option<PathBuf> {
    let named = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    named("XDG_CONFIG_HOME").or_else(|| named("HOME").map(|home| home.join(".config")))
}

/// Whole or not at all, and never open to others, not even for a moment.
fn write_private(path: &Path, token: &str) -> Result<(), TokenError> {
    let failed = |source| TokenError::Io { verb: "write", path: path.to_owned(), source };
    let draft = path.with_file_name(format!(".{FILE}.{:016x}", rand::random::<u64>()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        writeln!(file, "{token}")?;
        file.sync_all()?;
        fs::rename(&draft, path)
    })();
    written.map_err(|error| {
        let _ = fs::remove_file(&draft);
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_kept_private() {
        let data = tempfile::tempdir().unwrap();
        let token = read_or_create(data.path()).unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(read_or_create(data.path()).unwrap(), token);
        let mode = fs::metadata(data.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1, "no draft stays");
    }

    #[test]
    fn exposed_and_odd_tokens_are_refused() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join(FILE);
        let put = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            read_or_create(data.path())
        };
        assert!(matches!(put("0123456789abcdef\n", 0o644), Err(TokenError::Exposed { mode: 0o644, .. })));
        assert_eq!(put("0123456789abcdef\n", 0o600).unwrap(), "0123456789abcdef");
        for odd in ["", "short", "with a space in it", &"x".repeat(300), "0123456789abcdéf"] {
            assert!(matches!(put(odd, 0o600), Err(TokenError::Malformed(_))), "{odd}");
        }
    }

    #[test]
    fn publishing_replaces_and_withdraws_its_own_only() {
        let config = tempfile::tempdir().unwrap();
        let (first, second) = (fresh(), fresh());
        let path = publish_in(config.path(), "127.0.0.1", 7070, &first).unwrap();
        assert!(path.ends_with("quark/tokens/127.0.0.1_7070"));
        publish_in(config.path(), "127.0.0.1", 7070, &second).unwrap();
        withdraw(&path, &first);
        assert_eq!(read(&path).unwrap(), second);
        withdraw(&path, &second);
        assert!(!path.exists());
        assert!(file_in(config.path(), "../../etc", 1).ends_with("quark/tokens/.._.._etc_1"));
    }
}
