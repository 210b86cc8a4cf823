//! Secrets of one cluster.

use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use std::fmt::Write as _;

/// What comes before the point of a P-256 public key in a SubjectPublicKeyInfo (RFC 5480): the lengths, the algorithm
/// id-ecPublicKey, the curve prime256v1, and the head of a bit string of 65 bytes.
const PUBLIC_KEY_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A fresh key pair for tokens of service accounts, private and public key in PEM.
pub(crate) fn signing_keys() -> (String, String) {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let private = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("the system gives random numbers");
    let pair =
        EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref(), &random).expect("a key just made can be read");
    let public = [&PUBLIC_KEY_HEAD, pair.public_key().as_ref()].concat();
    (encode("PRIVATE KEY", private.as_ref()), encode("PUBLIC KEY", &public))
}

fn encode(kind: &str, bytes: &[u8]) -> String {
    pem::encode(&pem::Pem::new(kind, bytes))
}

/// A fresh bearer token: nobody else on this machine should be able to use the cluster.
pub(crate) fn token() -> String {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).expect("the system gives random numbers");
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
