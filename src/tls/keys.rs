//! How the records of one direction are protected: in TLS 1.2 (RFC 5246, 6.2.3.3, with RFC 5288 and 7905) and in TLS 1.3 (RFC 8446,
//! 5.2), with the cipher suites of rustls.
//!
//! rustls says what a nonce is, what is protected beside a payload, what a payload of TLS 1.3 says, how long a key lasts, and makes the
//! next one's bytes. Its own sealing and opening cannot be had: they want an `AeadKey`, and up to 0.23 nobody but rustls makes one of
//! 128 bits. So the cipher itself is called here, the one that rustls calls.

use ring::aead::{self, AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use rustls::crypto::cipher::{
    InboundOpaqueMessage, Iv, NONCE_LEN, Nonce, make_tls12_aad, make_tls13_aad,
};
use rustls::crypto::ring::ALL_CIPHER_SUITES;
use rustls::crypto::tls13::OkmBlock;
use rustls::{
    CipherSuite, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    SupportedCipherSuite, Tls13CipherSuite,
};
use serde::{Deserialize, Serialize};

use super::records::{MAX_PLAIN, Record};

/// The keys of one direction, and how many records they have protected.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub(super) struct Keys {
    suite: SupportedCipherSuite,
    secrets: Secrets,
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    /// The next record's number.
    number: u64,
}

/// What another program needs to go on.
#[derive(Serialize, Deserialize)]
struct Written {
    suite: u16,
    secrets: Secrets,
    number: u64,
}

/// What the version has keys made from.
#[derive(Clone, Serialize, Deserialize)]
enum Secrets {
    Tls12 {
        #[serde(with = "serde_bytes")]
        key: Vec<u8>,
        iv: [u8; NONCE_LEN],
    },
    /// The secret of this direction, from which the key comes, and the next secret.
    Tls13(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// What was written down is no key of a cipher suite that is known here.
#[derive(Debug, thiserror::Error)]
#[error("it speaks a cipher of TLS that is not known")]
pub(super) struct UnknownCipher;

impl Keys {
    /// What a handshake has agreed on, with the number of the next record, and in TLS 1.3 the secret of this direction.
    ///
    /// # Errors
    /// A cipher that is not known here.
    pub(super) fn new(
        suite: SupportedCipherSuite,
        (number, secrets): (u64, ConnectionTrafficSecrets),
        traffic: Option<&[u8]>,
    ) -> Result<Keys, UnknownCipher> {
        let secrets = match (suite, secrets) {
            (SupportedCipherSuite::Tls13(_), _) => {
                Secrets::Tls13(traffic.ok_or(UnknownCipher)?.to_vec())
            }
            (
                SupportedCipherSuite::Tls12(_),
                ConnectionTrafficSecrets::Aes128Gcm { key, iv }
                | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
                | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
            ) => Secrets::Tls12 {
                key: key.as_ref().to_vec(),
                iv: iv.as_ref().try_into().map_err(|_| UnknownCipher)?,
            },
            _ => return Err(UnknownCipher),
        };
        Keys::with(suite, secrets, number)
    }

    fn with(
        suite: SupportedCipherSuite,
        secrets: Secrets,
        number: u64,
    ) -> Result<Keys, UnknownCipher> {
        let algorithm = algorithm(suite.suite()).ok_or(UnknownCipher)?;
        let unbound = |key: &[u8]| UnboundKey::new(algorithm, key).map_err(|_| UnknownCipher);
        let (key, iv) = match (suite, &secrets) {
            (SupportedCipherSuite::Tls12(_), Secrets::Tls12 { key, iv }) => (unbound(key)?, *iv),
            (SupportedCipherSuite::Tls13(suite), Secrets::Tls13(secret)) => {
                if secret.len() != suite.common.hash_provider.output_len() {
                    return Err(UnknownCipher);
                }
                let key = expand(suite, secret, b"key", algorithm.key_len());
                let mut iv = [0; NONCE_LEN];
                iv.copy_from_slice(&expand(suite, secret, b"iv", NONCE_LEN));
                (unbound(&key)?, iv)
            }
            _ => return Err(UnknownCipher),
        };
        Ok(Keys {
            suite,
            secrets,
            key: LessSafeKey::new(key),
            iv,
            number,
        })
    }

    /// Whether it is TLS 1.3, in which alone there can be another key after this one.
    pub(super) fn can_update(&self) -> bool {
        matches!(self.secrets, Secrets::Tls13(_))
    }

    /// Whether nothing more is to be protected with this key but the word that says so.
    pub(super) fn is_worn(&self) -> bool {
        self.number
            >= match self.suite {
                SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
                SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
            }
    }

    /// Goes on with the next key, RFC 8446, 7.2.
    pub(super) fn update(&mut self) {
        let (SupportedCipherSuite::Tls13(suite), Secrets::Tls13(secret)) =
            (self.suite, &self.secrets)
        else {
            return;
        };
        let next = Secrets::Tls13(expand(suite, secret, b"traffic upd", secret.len()));
        *self = Keys::with(self.suite, next, 0).expect("it is as long as the one before");
    }

    /// Appends a record of this type, with at most [`MAX_PLAIN`] bytes.
    pub(super) fn seal(&mut self, kind: ContentType, plain: &[u8], records: &mut Vec<u8>) {
        let nonce = self.nonce();
        let tag = self.key.algorithm().tag_len();
        match self.suite {
            SupportedCipherSuite::Tls12(_) => {
                let explicit = &nonce[NONCE_LEN - self.explicit()..];
                let length = explicit.len() + plain.len() + tag;
                let version = ProtocolVersion::TLSv1_2;
                records.push(kind.into());
                records.extend_from_slice(&version.to_array());
                records.extend_from_slice(&(length as u16).to_be_bytes());
                records.extend_from_slice(explicit);
                let start = records.len();
                records.extend_from_slice(plain);
                let aad = make_tls12_aad(self.number, kind, version, plain.len());
                self.seal_at(start, nonce, &aad, records);
            }
            SupportedCipherSuite::Tls13(_) => {
                let header = make_tls13_aad(plain.len() + 1 + tag);
                records.extend_from_slice(&header);
                let start = records.len();
                records.extend_from_slice(plain);
                records.push(kind.into());
                self.seal_at(start, nonce, &header, records);
            }
        }
        self.number += 1;
    }

    fn seal_at(&self, start: usize, nonce: [u8; NONCE_LEN], aad: &[u8], records: &mut Vec<u8>) {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let payload = &mut records[start..];
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), payload)
            .expect("a record is shorter than what a cipher takes");
        records.extend_from_slice(tag.as_ref());
    }

    /// Appends what a record says to `plain`, and returns of which type it is.
    ///
    /// # Errors
    /// A record that nobody has sealed with this key and number, or that says too much or nothing; then nothing is appended.
    pub(super) fn open(
        &mut self,
        record: &Record<'_>,
        plain: &mut Vec<u8>,
    ) -> Result<ContentType, Error> {
        let start = plain.len();
        let opened = self.open_at(start, record, plain);
        plain.truncate(start + opened.as_ref().map_or(0, |&(_, length)| length));
        self.number += 1;
        opened.map(|(kind, _)| kind)
    }

    fn open_at(
        &self,
        start: usize,
        record: &Record<'_>,
        plain: &mut Vec<u8>,
    ) -> Result<(ContentType, usize), Error> {
        let mut nonce = self.nonce();
        // what the peer has chosen instead of the number
        let (explicit, sealed) = record
            .payload
            .split_at_checked(self.explicit())
            .ok_or(Error::DecryptError)?;
        nonce[NONCE_LEN - explicit.len()..].copy_from_slice(explicit);
        let length = sealed.len().checked_sub(self.key.algorithm().tag_len());
        let length = length.ok_or(Error::DecryptError)?;
        plain.extend_from_slice(sealed);
        let [kind, major, minor, ..] = record.header;
        let kind = ContentType::from(kind);
        let version = ProtocolVersion::from(u16::from_be_bytes([major, minor]));
        let mut open = |aad: &[u8]| {
            let nonce = aead::Nonce::assume_unique_for_key(nonce);
            let opened = self
                .key
                .open_in_place(nonce, Aad::from(aad), &mut plain[start..]);
            opened.map(|_| ()).map_err(|_| Error::DecryptError)
        };
        match self.suite {
            SupportedCipherSuite::Tls12(_) => {
                open(&make_tls12_aad(self.number, kind, version, length))?;
                match length > MAX_PLAIN {
                    true => Err(Error::PeerSentOversizedRecord),
                    false => Ok((kind, length)),
                }
            }
            SupportedCipherSuite::Tls13(_) => {
                open(&record.header)?;
                let opened = &mut plain[start..start + length];
                let said = InboundOpaqueMessage::new(kind, version, opened);
                let said = said.into_tls13_unpadded_message()?;
                Ok((said.typ, said.payload.len()))
            }
        }
    }

    /// How much of its nonce a record has in front of its payload.
    fn explicit(&self) -> usize {
        match self.suite {
            SupportedCipherSuite::Tls12(suite) => {
                suite.aead_alg.key_block_shape().explicit_nonce_len
            }
            SupportedCipherSuite::Tls13(_) => 0,
        }
    }

    fn nonce(&self) -> [u8; NONCE_LEN] {
        Nonce::new(&Iv::from(self.iv), self.number).0
    }
}

impl TryFrom<Written> for Keys {
    type Error = UnknownCipher;

    fn try_from(written: Written) -> Result<Keys, UnknownCipher> {
        let number = CipherSuite::from(written.suite);
        let suite = ALL_CIPHER_SUITES.iter().find(|it| it.suite() == number);
        let suite = suite.ok_or(UnknownCipher)?;
        Keys::with(*suite, written.secrets, written.number)
    }
}

impl From<Keys> for Written {
    fn from(keys: Keys) -> Written {
        Written {
            suite: keys.suite.suite().into(),
            secrets: keys.secrets,
            number: keys.number,
        }
    }
}

/// The cipher of a suite.
fn algorithm(suite: CipherSuite) -> Option<&'static aead::Algorithm> {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Some(&AES_128_GCM),
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Some(&AES_256_GCM),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Some(&CHACHA20_POLY1305),
        _ => None,
    }
}

/// HKDF-Expand-Label without a context, RFC 8446, 7.1.
fn expand(suite: &Tls13CipherSuite, secret: &[u8], label: &[u8], length: usize) -> Vec<u8> {
    const PREFIX: &[u8] = b"tls13 ";
    let label_length = [(PREFIX.len() + label.len()) as u8];
    let info = [
        &(length as u16).to_be_bytes()[..],
        &label_length,
        PREFIX,
        label,
        &[0],
    ];
    let mut expanded = vec![0; length];
    suite
        .hkdf_provider
        .expander_for_okm(&OkmBlock::new(secret))
        .expand_slice(&info, &mut expanded)
        .expect("no key is as long as 255 hashes");
    expanded
}

#[cfg(test)]
impl Keys {
    /// Those of a suite, from one byte.
    pub(super) fn of(suite: SupportedCipherSuite, byte: u8) -> Keys {
        let secrets = match suite {
            SupportedCipherSuite::Tls12(suite) => Secrets::Tls12 {
                key: vec![byte; suite.aead_alg.key_block_shape().enc_key_len],
                iv: [byte; NONCE_LEN],
            },
            SupportedCipherSuite::Tls13(suite) => {
                Secrets::Tls13(vec![byte; suite.common.hash_provider.output_len()])
            }
        };
        Keys::with(suite, secrets, 0).unwrap()
    }

    /// Has it protect as many records as a key of AES-GCM may.
    pub(super) fn wear(&mut self) {
        self.number = 1 << 24;
    }

    /// A record of TLS 1.3 that says nothing, not even of which type it is, but so many zeros.
    pub(super) fn seal_zeros(&mut self, count: usize, records: &mut Vec<u8>) {
        self.seal(ContentType::Unknown(0), &vec![0; count - 1], records);
    }
}
