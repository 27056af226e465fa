//! `alppaca login` with a real browser at a real provider, and the pages that alppaca shows there.

use super::{
    Desktop,
    chromium::{Chromium, pictures},
    support::needs::needs,
};

#[test]
fn a_real_browser_signs_in_and_reads_why_if_it_cannot() {
    const WHAT: &str = "login: Chromium";
    if !["chromium", "chromedriver"].iter().all(|program| needs(WHAT, program)) {
        return;
    }
    let Some(mut desktop) = Desktop::new(&[], "") else { return };
    let _daemon = desktop.start();
    let chromium = Chromium::start();

    // The person declines.
    let begun = desktop.begin(&["login", "--no-browser"], "    http://127.0.0.1:");
    chromium.open(begun.2.lines().last().expect("a URL").trim());
    chromium.click("a[href$='/abort']");
    assert!(chromium.text().starts_with("Not signed in"), "{}", chromium.text());
    assert!(chromium.text().contains("access_denied"), "{}", chromium.text());
    chromium.finds_readable(&pictures(), "login-failed");
    let (mut login, ..) = begun;
    assert_eq!(login.wait().expect("it ends").code(), Some(1));

    let begun = desktop.begin(&["login", "--no-browser"], "    http://127.0.0.1:");
    let url = begun.2.lines().last().expect("a URL").trim().to_owned();
    chromium.open(&url);
    assert!(chromium.address().starts_with(&desktop.provider.as_ref().expect("a provider").issuer));
    chromium.open(&url);
    assert!(chromium.text().contains("This link has been used"), "{}", chromium.text());
    chromium.finds_readable(&pictures(), "login-used");
    chromium.back();
    chromium.fill("input[name=login]", "alice");
    chromium.fill("input[name=password]", "any");
    chromium.click("button[type=submit]");
    // What the client may do.
    chromium.click("button[type=submit]");
    assert!(chromium.text().starts_with("Signed in as alice"), "{}", chromium.text());
    chromium.finds_readable(&pictures(), "login-done");
    assert!(desktop.finish(begun).contains("Signed in as alice."));
    desktop.awaits_state("readonly", Some("idle"));
}
