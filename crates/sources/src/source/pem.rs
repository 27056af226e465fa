//! PEM files (RFC 7468): labelled base64, several sections in one file, any text between them.

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// One section of a PEM file.
pub(super) struct Section {
    /// What stands after `BEGIN`, such as `CERTIFICATE`.
    pub(super) label: String,
    /// Whether there are header lines (RFC 1421), as in keys that OpenSSL encrypted before PKCS#8.
    pub(super) headers: bool,
    /// What was encoded; empty if there are headers.
    pub(super) der: Zeroizing<Vec<u8>>,
}

/// What is wrong with a PEM file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PemError {
    #[error("line {line}: the section that begins here has no END line: the file is incomplete")]
    Unfinished { line: usize },
    #[error("line {line}: the section that begins here is damaged: it is not base64")]
    Base64 { line: usize },
}

/// All sections of a file. A file without any gives none.
pub(super) fn sections(text: &[u8]) -> Result<Vec<Section>, PemError> {
    let mut found = Vec::new();
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(label) = line.strip_prefix(b"-----BEGIN ").and_then(|rest| rest.strip_suffix(b"-----")) else {
            continue;
        };
        let end = [b"-----END ", label, b"-----"].concat();
        let begin = index + 1;
        let mut headers = false;
        // Never longer than the file, so that it is not moved while it grows.
        let mut body = Zeroizing::new(Vec::with_capacity(text.len()));
        loop {
            let Some((_, line)) = lines.next() else { return Err(PemError::Unfinished { line: begin }) };
            if line == end {
                break;
            }
            headers |= line.contains(&b':');
            body.extend_from_slice(line);
        }
        let mut der = Zeroizing::new(Vec::new());
        if !headers {
            *der = vec![0; body.len() / 4 * 3 + 3];
            let length = STANDARD.decode_slice(&*body, &mut der).map_err(|_| PemError::Base64 { line: begin })?;
            der.truncate(length);
        }
        found.push(Section { label: String::from_utf8_lossy(label).into_owned(), headers, der });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_among_other_text() {
        let text = b"Subject: x\r\n-----BEGIN CERTIFICATE-----\r\nAQID\r\nBA==\r\n-----END CERTIFICATE-----\r\nbla\n\
            -----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----";
        let found = sections(text).expect("fine");
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].label.as_str(), found[0].headers, &**found[0].der),
            ("CERTIFICATE", false, &[1, 2, 3, 4][..])
        );
        assert_eq!((found[1].label.as_str(), found[1].headers, found[1].der.len()), ("RSA PRIVATE KEY", true, 0));
        assert!(sections(b"nothing here").expect("fine").is_empty());
    }

    #[test]
    fn a_half_written_file_is_told() {
        let wrong = |text: &[u8]| sections(text).map(|found| found.len()).expect_err("damaged");
        assert_eq!(wrong(b"\n-----BEGIN X-----\nAQID"), PemError::Unfinished { line: 2 });
        assert_eq!(wrong(b"-----BEGIN X-----\nAQID\n-----END Y-----\n"), PemError::Unfinished { line: 1 });
        assert_eq!(wrong(b"-----BEGIN X-----\nAQI\n-----END X-----\n"), PemError::Base64 { line: 1 });
    }
}
