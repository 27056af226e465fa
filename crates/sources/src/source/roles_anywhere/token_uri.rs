//! URIs of objects in PKCS#11 tokens (RFC 7512), such as `pkcs11:token=hosts;object=web`.

use std::{
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// What needs no escape in a path that stands in the query.
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');

/// What a token and an object in it must look like. What is absent may be anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenUri {
    /// The URI as it was written, without its query.
    pub text: String,
    /// Label of the token.
    pub token: Option<String>,
    /// Manufacturer of the token.
    pub manufacturer: Option<String>,
    /// Model of the token.
    pub model: Option<String>,
    /// Serial number of the token.
    pub serial: Option<String>,
    /// Number of the slot.
    pub slot_id: Option<u64>,
    /// Label of the object.
    pub object: Option<String>,
    /// `CKA_ID` of the object.
    pub id: Option<Vec<u8>>,
    /// The module to load.
    pub module_path: Option<PathBuf>,
    /// The file that holds the PIN.
    pub pin_source: Option<PathBuf>,
}

/// What is wrong with a URI. None of its values is shown: a PIN may be among them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenUriError {
    /// Not of the form `pkcs11:name=value;…?name=value&…`.
    #[error("it must look like pkcs11:token=NAME;object=NAME?module-path=/usr/lib/…/module.so")]
    Form,
    /// The PIN itself stands in it.
    #[error(
        "pin-value would put the PIN into the configuration; write it to a file and name that file: \
         pin-source=file:/etc/…"
    )]
    PinValue,
    /// An attribute that we do not know, or that does not belong there.
    #[error(
        "there is no attribute {0:?} here (known: token, manufacturer, model, serial, slot-id, object, id, type; after the ?: module-path, pin-source)"
    )]
    Unknown(String),
    /// An attribute twice.
    #[error("the attribute {0:?} is given twice")]
    Twice(String),
    /// A value that its attribute cannot have.
    #[error("the value of {0:?} is wrong: {1}")]
    Value(&'static str, &'static str),
}

impl TokenUri {
    /// Whether a text is meant to be such a URI.
    pub fn is_meant(text: &str) -> bool {
        text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("pkcs11:"))
    }

    /// Reads a URI.
    pub fn parse(text: &str) -> Result<Self, TokenUriError> {
        let rest = text.get(7..).filter(|_| Self::is_meant(text)).ok_or(TokenUriError::Form)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut uri = Self { text: format!("pkcs11:{path}"), ..Self::default() };
        for attribute in path.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = attribute.split_once('=').ok_or(TokenUriError::Form)?;
            match name {
                "token" => once(&mut uri.token, name, utf8("token", value)?)?,
                "manufacturer" => once(&mut uri.manufacturer, name, utf8("manufacturer", value)?)?,
                "model" => once(&mut uri.model, name, utf8("model", value)?)?,
                "serial" => once(&mut uri.serial, name, utf8("serial", value)?)?,
                "object" => once(&mut uri.object, name, utf8("object", value)?)?,
                "id" => once(&mut uri.id, name, percent_decode_str(value).collect())?,
                "slot-id" => {
                    let number = value.parse().map_err(|_| TokenUriError::Value("slot-id", "a number is needed"))?;
                    once(&mut uri.slot_id, name, number)?;
                }
                // We know what is looked for; a contradiction shows.
                "type" if matches!(value, "private" | "cert") => {}
                "type" => {
                    return Err(TokenUriError::Value("type", "it is private for a key and cert for a certificate"));
                }
                other => return Err(TokenUriError::Unknown(other.to_owned())),
            }
        }
        for attribute in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = attribute.split_once('=').ok_or(TokenUriError::Form)?;
            match name {
                "module-path" => once(&mut uri.module_path, name, absolute("module-path", value)?)?,
                "pin-source" => {
                    let path = value.strip_prefix("file:").unwrap_or(value);
                    let path = if path.starts_with("//") { path.trim_start_matches('/') } else { path };
                    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
                    once(&mut uri.pin_source, name, absolute("pin-source", &path)?)?;
                }
                "pin-value" => return Err(TokenUriError::PinValue),
                other => return Err(TokenUriError::Unknown(other.to_owned())),
            }
        }
        Ok(uri)
    }
}

/// The whole URI.
impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        let mut separator = '?';
        for (name, path) in [("module-path", &self.module_path), ("pin-source", &self.pin_source)] {
            if let Some(path) = path {
                write!(f, "{separator}{name}={}", percent_encode(path.as_os_str().as_bytes(), IN_QUERY))?;
                separator = '&';
            }
        }
        Ok(())
    }
}

fn once<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), TokenUriError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(TokenUriError::Twice(name.to_owned())),
    }
}

fn utf8(name: &'static str, value: &str) -> Result<String, TokenUriError> {
    let decoded = percent_decode_str(value).decode_utf8();
    decoded.map(Into::into).map_err(|_| TokenUriError::Value(name, "it is not UTF-8"))
}

fn absolute(name: &'static str, value: &str) -> Result<PathBuf, TokenUriError> {
    let path = PathBuf::from(std::ffi::OsString::from_vec(percent_decode_str(value).collect()));
    if path.is_absolute() { Ok(path) } else { Err(TokenUriError::Value(name, "an absolute path is needed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_rfc_allows_is_read() {
        let uri = TokenUri::parse(
            "pkcs11:token=The%20Software%20PKCS%2311;manufacturer=Snake%20Oil,%20Inc.;model=1.0;serial=4;slot-id=7;\
             object=my-certificate;type=private;id=%69%95%00?module-path=/usr/lib/m%20x.so&pin-source=file:/etc/pin",
        )
        .expect("legal");
        assert_eq!(uri.token.as_deref(), Some("The Software PKCS#11"));
        assert_eq!(uri.manufacturer.as_deref(), Some("Snake Oil, Inc."));
        assert_eq!((uri.model.as_deref(), uri.serial.as_deref(), uri.slot_id), (Some("1.0"), Some("4"), Some(7)));
        assert_eq!((uri.object.as_deref(), uri.id.clone()), (Some("my-certificate"), Some(vec![0x69, 0x95, 0])));
        assert_eq!(uri.module_path, Some("/usr/lib/m x.so".into()));
        assert_eq!(uri.pin_source, Some("/etc/pin".into()));
        assert!(!uri.text.contains("pin"));
        assert_eq!(TokenUri::parse(&uri.to_string()), Ok(uri));
        for source in ["/etc/pin", "file:/etc/pin", "file:///etc/pin"] {
            let uri = TokenUri::parse(&format!("PKCS11:?pin-source={source}")).expect("legal");
            assert_eq!(uri.pin_source, Some("/etc/pin".into()), "{source}");
        }
    }

    #[test]
    fn mistakes_are_told_without_the_values() {
        for (text, error) in [
            ("pkcs12:token=x", TokenUriError::Form),
            ("pkcs11:token", TokenUriError::Form),
            ("pkcs11:token=x?pin-value=1234", TokenUriError::PinValue),
            ("pkcs11:tokem=x", TokenUriError::Unknown("tokem".into())),
            ("pkcs11:token=x;token=y", TokenUriError::Twice("token".into())),
            ("pkcs11:token=%ff", TokenUriError::Value("token", "it is not UTF-8")),
            ("pkcs11:slot-id=x", TokenUriError::Value("slot-id", "a number is needed")),
            ("pkcs11:?module-path=m.so", TokenUriError::Value("module-path", "an absolute path is needed")),
        ] {
            assert_eq!(TokenUri::parse(text), Err(error), "{text}");
        }
        let error = TokenUri::parse("pkcs11:?pin-value=1234").expect_err("refused").to_string();
        assert!(!error.contains("1234"), "{error}");
    }
}
