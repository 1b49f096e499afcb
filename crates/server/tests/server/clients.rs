//! Pages of other origins, and this server's own one.

use crate::Server;

#[test]
fn pages_of_named_origins_may_ask() {
    let server = Server::start(&["--cors", "https://chat.example"]);
    for (origin, may) in [("https://chat.example", true), ("https://other.example", false)] {
        let request = Server::agent().get(format!("http://{}/v1/models", server.address));
        let response = request.header("origin", origin).call().unwrap();
        let allowed = response.headers().get("access-control-allow-origin");
        assert_eq!(allowed.is_some_and(|allowed| allowed == origin), may, "{origin}: {allowed:?}");
    }
}

#[test]
fn the_page_asks_no_other_host() {
    let server = Server::start(&[]);
    let response = Server::agent().get(format!("http://{}/", server.address)).call().unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"), "{policy}");
    let page = server.get("/").1;
    let without_namespace = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!without_namespace.contains("http://") && !without_namespace.contains("https://"));
    assert!(page.len() < 20_000, "{} bytes", page.len());
}
