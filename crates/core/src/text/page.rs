//! Pages for a person's browser, complete in themselves: nothing is loaded, no script runs, and they are readable whether the
//! browser is light or dark.

/// Canvas and text are the browser's own, so that each mode has its colours and its contrast.
const STYLE: &str = ":root{color-scheme:light dark}\
body{margin:15vh auto 0;max-width:34rem;padding:0 1.5rem;font:1.125rem/1.5 system-ui,sans-serif}\
h1{font-size:1.5rem;line-height:1.25}\
p,dd{overflow-wrap:anywhere}\
button{font:inherit;padding:.5rem 1.25rem;margin:0 .75rem .75rem 0;cursor:pointer}";

/// The SHA-256 of the style in Base64, which a test computes.
const STYLE_HASH: &str = "9Z9bqeQ4ZJ3F0g2Bg7qjv4i+JkZXgbekjVOcdqYWS/8=";

/// A page with a title and that content, which is HTML: everything foreign in it has to be [`escaped`].
pub fn page(title: &str, content: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title} - alppaca</title>\n\
         <style>{STYLE}</style>\n<h1>{title}</h1>\n{content}\n</html>\n"
    )
}

/// The `Content-Security-Policy` of a page, whose forms are sent nowhere but to `forms`.
pub fn policy(forms: &str) -> String {
    format!(
        "default-src 'none'; style-src 'sha256-{STYLE_HASH}'; form-action {forms}; base-uri 'none'; \
         frame-ancestors 'none'"
    )
}

/// A text as HTML, also within quotes.
pub fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_applies_this_style_and_no_other() {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, STYLE.as_bytes());
        let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
        assert_eq!(STYLE_HASH, hash);
        assert!(policy("'none'").contains(&format!("style-src 'sha256-{hash}'; form-action 'none'")));
        assert!(page("x", "").contains(&format!("<style>{STYLE}</style>")));
    }

    #[test]
    fn nothing_foreign_becomes_html() {
        assert_eq!(escaped("<a href='\"&'>"), "&lt;a href=&#39;&quot;&amp;&#39;&gt;");
        assert!(page("<b>", "<p>text</p>").contains("<h1>&lt;b&gt;</h1>\n<p>text</p>"));
    }
}
