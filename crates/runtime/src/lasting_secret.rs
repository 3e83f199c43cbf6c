//! Secrets that outlive the daemon: behind the tokens of quick crash detection (RFC 6290), behind tickets of session
//! resumption (RFC 5723).

use crate::SystemRng;
use base::Secret;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Octets of such a secret.
const SECRET: usize = 32;

/// The secret behind tickets of session resumption.
pub type TicketSecret = Secret<[u8; sa::TICKET_SECRET]>;

/// The secret in that file; drawn when the file is not there. The error is a sentence.
//= rfc6290 §5.1
//# 32 random octets are generated […]. Those 32 bytes, called the "QCD_SECRET", are stored in non-volatile storage on the
//# machine, and kept indefinitely.
pub fn lasting_secret(path: &Path) -> Result<Secret<[u8; SECRET]>, String> {
    let mut secret = Secret::new([0; SECRET]);
    match std::fs::read(path) {
        Ok(octets) => {
            let octets = Secret::new(octets);
            let fits = <&[u8; SECRET]>::try_from(octets.expose().as_slice());
            let found = fits.map_err(|_| format!("it has not {SECRET} octets; remove it."))?;
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

/// A secret for as long as the daemon runs.
pub fn passing_secret() -> Secret<[u8; SECRET]> {
    let mut secret = Secret::new([0; SECRET]);
    SystemRng::boxed().fill(secret.expose_mut());
    secret
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_outlives_the_daemon() {
        let directory = std::env::temp_dir().join(format!("handfast-lasting-secret-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("secret");
        let first = lasting_secret(&path).unwrap();
        assert_ne!(first.expose(), &[0; SECRET]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(lasting_secret(&path).unwrap(), first, "the same again");
        std::fs::write(&path, b"short").unwrap();
        assert!(lasting_secret(&path).unwrap_err().contains("32 octets"));
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(lasting_secret(&path).is_err(), "its directory is not made");
    }
}
