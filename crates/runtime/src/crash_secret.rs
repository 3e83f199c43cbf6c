//! The secret behind the tokens of quick crash detection (RFC 6290), which outlives the daemon.

use crate::SystemRng;
use base::Secret;
use sa::CRASH_SECRET;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The secret in that file; drawn when the file is not there. The error is a sentence.
//= rfc6290 §5.1
//# 32 random octets are generated […]. Those 32 bytes, called the "QCD_SECRET", are stored in non-volatile storage on the
//# machine, and kept indefinitely.
pub fn crash_secret(path: &Path) -> Result<Secret<[u8; CRASH_SECRET]>, String> {
    let mut secret = Secret::new([0; CRASH_SECRET]);
    match std::fs::read(path) {
        Ok(octets) => {
            let octets = Secret::new(octets);
            let fits = <&[u8; CRASH_SECRET]>::try_from(octets.expose().as_slice());
            let found = fits.map_err(|_| format!("it has not {CRASH_SECRET} octets; remove it."))?;
            secret.expose_mut().copy_from_slice(found);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            SystemRng::boxed().fill(secret.expose_mut());
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(|error| format!("{error}."))?;
            file.write_all(secret.expose()).map_err(|error| format!("{error}."))?;
        }
        Err(error) => return Err(format!("{error}.")),
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_crash_secret_outlives_the_daemon() {
        let directory = std::env::temp_dir().join(format!("handfast-crash-secret-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("secret");
        let first = crash_secret(&path).unwrap();
        assert_ne!(first.expose(), &[0; CRASH_SECRET]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(crash_secret(&path).unwrap(), first, "the same again");
        std::fs::write(&path, b"short").unwrap();
        assert!(crash_secret(&path).unwrap_err().contains("32 octets"));
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(crash_secret(&path).is_err(), "its directory is not made");
    }
}
