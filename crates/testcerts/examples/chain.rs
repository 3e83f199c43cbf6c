//! `chain KEY FOLDER [OCTETS]`: a root `ca.pem`, and for `left.example` and `right.example` a chain of three certificates
//! below it, all with that kind of key (`MlDsa87`, `EcdsaP256`, …): `left.pem` has all three, `left.0.pem` to `left.2.pem` one
//! each, the end entity's first, and `left.key` its key. Each certificate has an extension of so many octets that nobody
//! knows, so that chains of small keys become as long as those of large ones.

use std::error::Error;
use std::path::Path;
use testcerts::rcgen::{CertificateParams, CustomExtension};
use testcerts::{Authority, Key};

/// Below the number that RFC 5612 keeps for examples.
const NOBODYS: &[u64] = &[1, 3, 6, 1, 4, 1, 32_473, 1];

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder, rest @ ..] = &args[..] else { return Err("usage: chain KEY FOLDER [OCTETS]".into()) };
    let key = Key::ALL.into_iter().find(|key| format!("{key:?}") == *name);
    let key = key.ok_or(format!("no kind of key is called {name}: there are {:?}", Key::ALL))?;
    let octets = rest.first().map_or(Ok(0), |text| text.parse::<usize>())?;
    write(key, Path::new(folder), octets)
}

fn write(key: Key, folder: &Path, octets: usize) -> Result<(), Box<dyn Error>> {
    let longer = |params: &mut CertificateParams| {
        if octets > 0 {
            let extension = CustomExtension::from_oid_content(NOBODYS, vec![0; octets]);
            params.custom_extensions.push(extension);
        }
    };
    let root = Authority::root(key, "Root");
    root.write(folder, "ca")?;
    for side in ["left", "right"] {
        let middle = root.intermediate_with(key, &format!("Middle {side}"), longer);
        let below = middle.intermediate_with(key, &format!("Below {side}"), longer);
        let entity = below.issue_with(key, side, &[&format!("{side}.example")], longer);
        entity.write(folder, side)?;
        for (n, one) in [entity.pem(), below.pem(), middle.pem()].into_iter().enumerate() {
            std::fs::write(folder.join(format!("{side}.{n}.pem")), one)?;
        }
    }
    Ok(())
}
