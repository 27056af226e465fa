//! Answers as EC2's metadata service gives them.

use crate::http::{Answer, Body, Status, Style};

/// The header that says how many seconds a token is still valid.
pub(super) const TOKEN_TTL: &str = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds";

/// What all answers have.
const PLAIN: Style = Style { content_type: "text/plain", also: None, server: Some("EC2ws") };
/// Texts and credentials.
const TEXT: Style = Style { also: Some(("Accept-Ranges", "none")), ..PLAIN };
/// User data.
pub(super) const BINARY: Style =
    Style { content_type: "application/octet-stream", also: Some(("Accept-Ranges", "bytes")), ..PLAIN };
/// Errors.
const PAGE: Style = Style { content_type: "text/html", ..PLAIN };

/// The page that EC2 sends with an error. No SDK reads it.
macro_rules! page {
    ($title:literal) => {
        concat!(
            "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n",
            "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n",
            "\t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n",
            "<html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n",
            " <head>\n  <title>",
            $title,
            "</title>\n </head>\n <body>\n  <h1>",
            $title,
            "</h1>\n </body>\n</html>\n"
        )
        .as_bytes()
    };
}

/// 200 with a body.
pub(super) fn ok(body: Body) -> Answer {
    Answer::new(Status::Ok, TEXT, body)
}

/// An error, with the small page that EC2 sends along.
pub(super) fn error(status: Status) -> Answer {
    let page: &'static [u8] = match status {
        Status::BadRequest => page!("400 - Bad Request"),
        Status::Unauthorized => page!("401 - Unauthorized"),
        Status::Forbidden => page!("403 - Forbidden"),
        Status::NotFound => page!("404 - Not Found"),
        Status::HeadTooLarge => page!("431 - Request Header Fields Too Large"),
        Status::Unavailable => page!("503 - Service Unavailable"),
        // EC2 sends none here.
        Status::MethodNotAllowed | Status::Ok => return Answer::new(status, PLAIN, Body::Static(b"")),
    };
    Answer::new(status, PAGE, Body::Static(page))
}

/// 403 without a page, as EC2 answers any PUT that is not for a token, and what a proxy passed on.
pub(super) fn forbidden() -> Answer {
    Answer::new(Status::Forbidden, PLAIN, Body::Empty)
}

/// 405: only the methods `allow` are possible there.
pub(super) fn not_allowed(allow: &'static str) -> Answer {
    Answer { allow: Some(allow), ..error(Status::MethodNotAllowed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(answer: &Answer, keep_alive: bool) -> String {
        let mut head = Vec::new();
        answer.write_head(&mut head, "Mon, 23 Nov 2026 10:00:00 GMT", keep_alive);
        String::from_utf8(head).expect("ASCII")
    }

    #[test]
    fn a_head_carries_what_ec2s_carries() {
        let answer = Answer { number: Some((TOKEN_TTL, 21_600)), ..ok(Body::Static(b"role")) };
        assert_eq!(
            head(&answer, true),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nAccept-Ranges: none\r\n\
             Date: Mon, 23 Nov 2026 10:00:00 GMT\r\nServer: EC2ws\r\nConnection: keep-alive\r\n\
             Content-Length: 4\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 21600\r\n\r\n"
        );
    }

    #[test]
    fn an_error_carries_a_page_and_405_the_methods() {
        let error = super::error(Status::NotFound);
        assert!(head(&error, false).contains("404 Not Found\r\nContent-Type: text/html\r\n"));
        assert!(String::from_utf8_lossy(error.body.bytes()).contains("<h1>404 - Not Found</h1>"));
        let answer = head(&not_allowed("OPTIONS, PUT"), false);
        assert!(answer.starts_with("HTTP/1.1 405 Not Allowed\r\nContent-Type: text/plain\r\n"), "{answer}");
        let forbidden = head(&forbidden(), false);
        assert!(forbidden.starts_with("HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\n"), "{forbidden}");
        assert!(forbidden.contains("\r\nContent-Length: 0\r\n"), "{forbidden}");
        assert!(answer.contains("\r\nAllow: OPTIONS, PUT\r\n") && answer.contains("\r\nContent-Length: 0\r\n"));
    }
}
