//! Keys as OpenSSL writes them (made for these tests), what is no key, and what gets into the bundle.

use serde_json::json;

use super::*;

/// `openssl genpkey -algorithm ed25519`
const ED25519: &str = "\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEILXbCLvNJNjpnOoIWnh8lb2BXnhNTl05ERzvFyBj1/Lp
-----END PRIVATE KEY-----
";
/// `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`
const P256: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBIknivlXv1/k95OC
RMU8cNEYUSzq2HYc0M3rIYosuqGhRANCAATXXuxmVuFES2walw3pK4+RnWuTwNbE
Z95AA/xv8pS8yaWN68kU9YHzmaTXfNwNDAAmaBxBjcSaXMaL7mGJFX12
-----END PRIVATE KEY-----
";
/// `openssl ecparam -name prime256v1 -genkey`
const SEC1: &str = "\
-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEINBqq1/IpUnlD5pHB0zbxU1vkOY235sW7KZzEfZXZvn/oAoGCCqGSM49
AwEHoUQDQgAEapzU7Wc9BUl4eyRLioswmy6m9Atz07j75k5fMSTIAGoe803JuLGW
qm0uuoo045L3YcIrqIjdEJJwtztbqKhqzQ==
-----END EC PRIVATE KEY-----
";
/// `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384`
const P384: &str = "\
-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDBoLInxB654EPrdVeVA
Ctxitnw/Vtk+gdcx3GUZuy5U80ge8mYFEiFNyi9ESek+L+6hZANiAARQ3ts3yLDh
bHQNWaznFpgq1V1ys4NvpDoYIJHNuIaaNcKViEoELZrzDypZxmcGcyEYjf5LG4/g
8qg/JNiSDfD8sN2gtX0wywBPdsqujaPgowtWaIAJ4R0iV4a0cWPU94M=
-----END PRIVATE KEY-----
";
/// `openssl genpkey -algorithm ed25519 -aes256 -pass pass:x`
const ENCRYPTED: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgpHN9ybpmQJgICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEECqnxGmGD2IbqVv5+v+3d3gEQAKh
ntACnLT80evtgcqQxNptyuunBKcY7fp1AkxXrcfwpihWD6G9IYIUbCvV6hp2xFjM
Zvdz+ggMh9H2ioU+cq0=
-----END ENCRYPTED PRIVATE KEY-----
";
/// `openssl ecparam -name prime256v1 -genkey | openssl ec -aes256 -passout pass:x`
const OLD_ENCRYPTED: &str = "\
-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-256-CBC,810D204DD92B25EA7CE208F6B8DF7F41

pGzVctOvzysl7xAPEx3xTa/BDlVUpojH8L20t9mHlQfeQqyJ9CdAkrLI6KTV/liq
uyUqKkxX2FUH0tIgnZ2HMDVql3epJJIN+DZ8l+0bI3IrPOuwND3/c0T+6jxwT6VP
Ahh8DRJ1usoFENfaOs2JLkwV0Xm1zLuiBuuNuqM79z4=
-----END EC PRIVATE KEY-----
";

fn error(text: &str) -> SigningKeyError {
    match SigningKey::from_pem(text) {
        Err(error) => error,
        Ok(_) => panic!("taken: {text}"),
    }
}

#[test]
fn keys_of_openssl_sign() {
    let public = [
        (
            ED25519,
            "MCowBQYDK2VwAyEAbyIg1reZdcEl6sEMI/vwAbzZr5IZDyHYXk1wHNAm5rM=",
        ),
        (
            P256,
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE117sZlbhREtsGpcN6SuPkZ1rk8DWxGfeQAP8b/KUvMmljevJFPWB85mk13zcDQwAJmgcQY3EmlzGi+5hiRV9dg==",
        ),
        (
            SEC1,
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEapzU7Wc9BUl4eyRLioswmy6m9Atz07j75k5fMSTIAGoe803JuLGWqm0uuoo045L3YcIrqIjdEJJwtztbqKhqzQ==",
        ),
    ];
    for (text, spki) in public {
        let key = SigningKey::from_pem(text).expect("a key");
        assert_eq!(manifest_sync::base64::encode(&key.public().to_spki()), spki);
        let signature = key.sign(b"message").expect("signs");
        assert!(key.public().has_signed(b"message", &signature));
        assert!(!key.public().has_signed(b"massage", &signature));
    }
}

#[test]
fn what_is_no_key_is_refused_with_advice() {
    assert_eq!(error(P384), SigningKeyError::Unsupported);
    assert_eq!(error(ENCRYPTED), SigningKeyError::Encrypted);
    assert_eq!(error(OLD_ENCRYPTED), SigningKeyError::Encrypted);
    for label in ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"] {
        assert_eq!(
            error(&manifest_sync::pem::encode(label, b"{}")),
            SigningKeyError::Cosign
        );
    }
    let public = manifest_sync::pem::encode("PUBLIC KEY", b"x");
    assert_eq!(error(&public), SigningKeyError::Label("PUBLIC KEY".to_owned()));
    assert_eq!(error(&format!("{ED25519}{P256}")), SigningKeyError::Several);
    assert!(matches!(error("ssh-ed25519 AAAA"), SigningKeyError::Pem(_)));
    for label in ["PRIVATE KEY", "EC PRIVATE KEY"] {
        assert_eq!(
            error(&manifest_sync::pem::encode(label, &[0x30, 0])),
            SigningKeyError::Unsupported
        );
    }
    // The private half of one key with the public half of another.
    let sec1 = manifest_sync::pem::blocks(SEC1)
        .expect("PEM")
        .pop()
        .expect("a key")
        .bytes;
    let p256 = SigningKey::from_pem(P256).expect("a key");
    let mixed = [&sec1[..56], p256.public().as_bytes()].concat();
    assert_eq!(mixed.len(), sec1.len());
    assert_eq!(
        error(&manifest_sync::pem::encode("EC PRIVATE KEY", &mixed)),
        SigningKeyError::Unsupported
    );
}

#[test]
fn a_release_is_stamped() {
    let pod = json!({"kind": "Pod", "metadata": {"name": "web"}});
    let mut items = vec![pod.clone()];
    assert_eq!(stamp::stamp(&mut items, None, None), [""; 0]);
    assert_eq!(items, [pod]);
    assert_eq!(stamp::stamp(&mut items, Some("web"), Some(7)), [""; 0]);
    assert_eq!(items[1]["metadata"]["name"], "web");
    assert_eq!(items[1]["spec"], json!({"application": "web", "generation": 7}));
    let said = stamp::stamp(&mut items, Some("web"), Some(8));
    assert_eq!(said, ["--generation: 8 replaces 7 of the manifest"]);
    assert_eq!(items.len(), 2);
}
