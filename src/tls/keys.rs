//! How the records of one direction are protected: in TLS 1.2 (RFC 5246, 6.2.3.3, with RFC 5288 and 7905) and in TLS 1.3 (RFC 8446,
//! 5.2), with the ciphers that rustls agrees on.

use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;
use rustls::{ConnectionTrafficSecrets, Error};
use serde::{Deserialize, Serialize};

/// Bytes before a record's payload: its type, a version, and the payload's length.
pub(super) const HEADER: usize = 5;

/// The most that a record may say.
pub(super) const MAX_PLAIN: usize = 1 << 14;

/// The type of everything in TLS 1.3, and of what the protocol above says.
pub(super) const DATA: u8 = 23;

/// The version that a record of either version bears.
const VERSION: [u8; 2] = [3, 3];

/// AES-GCM in TLS 1.2 has so much of its nonce in front of each payload.
const EXPLICIT: usize = 8;

/// Records under one key of AES-GCM, after which it is worn: RFC 8446, 5.5.
const WORN: u64 = 1 << 24;

/// The keys of one direction, and how many records they have protected.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Secrets", into = "Secrets")]
pub(super) struct Keys {
    secrets: Secrets,
    key: LessSafeKey,
}

#[derive(Clone, Serialize, Deserialize)]
struct Secrets {
    version: Version,
    cipher: Cipher,
    #[serde(with = "serde_bytes")]
    key: Vec<u8>,
    iv: [u8; aead::NONCE_LEN],
    /// The next record's number.
    number: u64,
}

#[derive(Clone, Serialize, Deserialize)]
enum Version {
    Tls12,
    /// With the secret that the next key is made from.
    Tls13(#[serde(with = "serde_bytes")] Vec<u8>),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Cipher {
    Aes128Gcm,
    Aes256Gcm,
    Chacha20Poly1305,
}

/// A key that is not as long as its cipher wants it.
#[derive(Debug, thiserror::Error)]
#[error("a key of TLS has another length than its cipher wants")]
pub(super) struct BadKey;

impl Keys {
    /// What a handshake has agreed on, with the number of the next record, and in TLS 1.3 the secret of this direction. `None` for a
    /// cipher that is not known here.
    pub(super) fn new(
        number: u64,
        secrets: ConnectionTrafficSecrets,
        traffic: Option<&[u8]>,
    ) -> Option<Keys> {
        let (cipher, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Cipher::Aes128Gcm, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Cipher::Aes256Gcm, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
                (Cipher::Chacha20Poly1305, key, iv)
            }
            _ => return None,
        };
        let secrets = Secrets {
            version: traffic.map_or(Version::Tls12, |secret| Version::Tls13(secret.to_vec())),
            cipher,
            key: key.as_ref().to_vec(),
            iv: iv.as_ref().try_into().ok()?,
            number,
        };
        Keys::try_from(secrets).ok()
    }

    /// Whether there can be another key after this one, which TLS 1.3 alone has.
    pub(super) fn can_update(&self) -> bool {
        matches!(self.secrets.version, Version::Tls13(_))
    }

    /// Whether nothing more is to be protected with this key but the word that says so.
    pub(super) fn is_worn(&self) -> bool {
        match self.secrets.cipher {
            Cipher::Aes128Gcm | Cipher::Aes256Gcm => self.secrets.number >= WORN,
            Cipher::Chacha20Poly1305 => false,
        }
    }

    /// Has it protect so many records that it is worn, but for those whose cipher is never.
    #[cfg(test)]
    pub(super) fn wear(&mut self) {
        self.secrets.number = WORN;
    }

    /// Goes on with the next key, RFC 8446, 7.2.
    pub(super) fn update(&mut self) {
        let Version::Tls13(secret) = &self.secrets.version else {
            return;
        };
        let secret = expand(secret, b"traffic upd", secret.len());
        let mut iv = [0; aead::NONCE_LEN];
        iv.copy_from_slice(&expand(&secret, b"iv", aead::NONCE_LEN));
        let secrets = Secrets {
            cipher: self.secrets.cipher,
            key: expand(&secret, b"key", self.secrets.key.len()),
            iv,
            number: 0,
            version: Version::Tls13(secret),
        };
        *self = Keys::try_from(secrets).expect("it is as long as the one before");
    }

    /// Appends a record of this type, with at most [`MAX_PLAIN`] bytes.
    pub(super) fn seal(&mut self, kind: u8, plain: &[u8], records: &mut Vec<u8>) {
        let nonce = self.next_nonce();
        let tag = self.key.algorithm().tag_len();
        let (explicit, inner) = match self.secrets.version {
            Version::Tls12 => (&nonce[aead::NONCE_LEN - self.explicit()..], &[][..]),
            Version::Tls13(_) => (&[][..], &[kind][..]),
        };
        let outer = match self.secrets.version {
            Version::Tls12 => kind,
            Version::Tls13(_) => DATA,
        };
        let length = explicit.len() + plain.len() + inner.len() + tag;
        let header = header(outer, length);
        records.extend_from_slice(&header);
        records.extend_from_slice(explicit);
        let start = records.len();
        records.extend_from_slice(plain);
        records.extend_from_slice(inner);
        let (aad, length) = self.additional(header, plain.len());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.key.seal_in_place_separate_tag(
            nonce,
            Aad::from(&aad[..length]),
            &mut records[start..],
        );
        let tag = sealed.expect("a record is shorter than what a cipher takes");
        records.extend_from_slice(tag.as_ref());
        self.secrets.number += 1;
    }

    /// Appends what a record says to `plain`, and returns of which type it is.
    ///
    /// # Errors
    /// A record that nobody has sealed with this key and number, or that says too much; then nothing is appended.
    pub(super) fn open(
        &mut self,
        header: [u8; HEADER],
        payload: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<u8, Error> {
        let start = plain.len();
        let opened = self.open_at(start, header, payload, plain);
        plain.truncate(start + opened.as_ref().map_or(0, |&(_, length)| length));
        self.secrets.number += 1;
        opened.map(|(kind, _)| kind)
    }

    fn open_at(
        &self,
        start: usize,
        header: [u8; HEADER],
        payload: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<(u8, usize), Error> {
        let mut nonce = self.next_nonce();
        let sealed = match self.explicit() {
            0 => payload,
            // what the peer has chosen instead of the number
            explicit => {
                let (chosen, sealed) = payload
                    .split_at_checked(explicit)
                    .ok_or(Error::DecryptError)?;
                nonce[aead::NONCE_LEN - explicit..].copy_from_slice(chosen);
                sealed
            }
        };
        let length = sealed.len().checked_sub(self.key.algorithm().tag_len());
        let (aad, length) = self.additional(header, length.ok_or(Error::DecryptError)?);
        plain.extend_from_slice(sealed);
        let opened = self.key.open_in_place(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(&aad[..length]),
            &mut plain[start..],
        );
        let opened = opened.map_err(|_| Error::DecryptError)?;
        let (kind, length) = match self.secrets.version {
            Version::Tls12 => (header[0], opened.len()),
            // the type stands behind, and as many zeros as the peer likes behind it
            Version::Tls13(_) => {
                let last = opened.iter().rposition(|&byte| byte != 0);
                let at = last.ok_or(Error::DecryptError)?;
                (opened[at], at)
            }
        };
        match length > MAX_PLAIN {
            true => Err(Error::PeerSentOversizedRecord),
            false => Ok((kind, length)),
        }
    }

    fn explicit(&self) -> usize {
        match (&self.secrets.version, self.secrets.cipher) {
            (Version::Tls12, Cipher::Aes128Gcm | Cipher::Aes256Gcm) => EXPLICIT,
            (Version::Tls12, Cipher::Chacha20Poly1305) | (Version::Tls13(_), _) => 0,
        }
    }

    fn next_nonce(&self) -> [u8; aead::NONCE_LEN] {
        let mut nonce = self.secrets.iv;
        let number = self.secrets.number.to_be_bytes();
        for (byte, number) in nonce.iter_mut().rev().zip(number.iter().rev()) {
            *byte ^= number;
        }
        nonce
    }

    /// What is protected with a payload without being in it, and how long that is.
    fn additional(&self, header: [u8; HEADER], plain: usize) -> ([u8; 8 + HEADER], usize) {
        let mut all = [0; 8 + HEADER];
        match self.secrets.version {
            Version::Tls12 => {
                all[..8].copy_from_slice(&self.secrets.number.to_be_bytes());
                all[8..11].copy_from_slice(&header[..3]);
                all[11..].copy_from_slice(&(plain as u16).to_be_bytes());
                (all, 8 + HEADER)
            }
            Version::Tls13(_) => {
                all[..HEADER].copy_from_slice(&header);
                (all, HEADER)
            }
        }
    }
}

fn header(kind: u8, length: usize) -> [u8; HEADER] {
    let [high, low] = (length as u16).to_be_bytes();
    [kind, VERSION[0], VERSION[1], high, low]
}

impl TryFrom<Secrets> for Keys {
    type Error = BadKey;

    fn try_from(secrets: Secrets) -> Result<Keys, BadKey> {
        let algorithm = match secrets.cipher {
            Cipher::Aes128Gcm => &aead::AES_128_GCM,
            Cipher::Aes256Gcm => &aead::AES_256_GCM,
            Cipher::Chacha20Poly1305 => &aead::CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, &secrets.key).map_err(|_| BadKey)?;
        Ok(Keys {
            key: LessSafeKey::new(key),
            secrets,
        })
    }
}

impl From<Keys> for Secrets {
    fn from(keys: Keys) -> Secrets {
        keys.secrets
    }
}

/// HKDF-Expand-Label without a context, RFC 8446, 7.1.
fn expand(secret: &[u8], label: &[u8], length: usize) -> Vec<u8> {
    // a secret is as long as the hash of its suite
    let hash = match secret.len() {
        48 => hkdf::HKDF_SHA384,
        _ => hkdf::HKDF_SHA256,
    };
    const PREFIX: &[u8] = b"tls13 ";
    let lengths = [0, length as u8, (PREFIX.len() + label.len()) as u8];
    let info = [&lengths[..], PREFIX, label, &[0]];
    let mut expanded = vec![0; length];
    hkdf::Prk::new_less_safe(hash, secret)
        .expand(&info, Length(length))
        .and_then(|key| key.fill(&mut expanded))
        .expect("no key is as long as 255 hashes");
    expanded
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}
