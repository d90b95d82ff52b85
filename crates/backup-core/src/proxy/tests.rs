use super::*;

fn read(variables: &[(&str, &str)]) -> Proxies {
    Proxies::read(|name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

fn way(proxies: &Proxies, server: &str) -> Option<String> {
    let found = proxies.of(&server.parse().unwrap()).unwrap();
    found.map(|proxy| proxy.to_string())
}

#[test]
fn the_scheme_of_the_server_says_which_variable_counts() {
    let both = read(&[
        ("HTTPS_PROXY", "http://secure:3128"),
        ("http_proxy", "plain:8080\n"),
    ]);
    assert_eq!(way(&both, "https://a.net").unwrap(), "http://secure:3128");
    assert_eq!(way(&both, "http://a.net").unwrap(), "http://plain:8080");
    let small = read(&[("HTTPS_PROXY", " "), ("https_proxy", "socks5://s:1")]);
    assert_eq!(way(&small, "https://a.net").unwrap(), "socks5://s:1");
    assert_eq!(way(&small, "http://a.net"), None);
    assert_eq!(way(&read(&[]), "https://a.net"), None);
}

#[test]
fn no_proxy_is_read_as_curl_and_go_read_it() {
    let list = "example.net, .dotted.net *.starred.net,10.5.0.0/16,192.0.2.7,ported.net:6443,\
                2001:db8::/32,[2001:db9::1]:6443,192.0.2.8:6443,,:,broken.net:x";
    let proxies = read(&[("HTTPS_PROXY", "p:1"), ("no_proxy", list)]);
    for direct in [
        "https://example.net",
        "https://EXAMPLE.net:6443",
        "https://a.b.example.net",
        "https://a.dotted.net",
        "https://dotted.net",
        "https://a.starred.net",
        "https://10.5.255.1:50000",
        "https://192.0.2.7",
        "https://ported.net:6443",
        "https://a.ported.net:6443",
        "https://[2001:db8::5]:443",
        "https://[2001:db9::1]:6443",
        "https://192.0.2.8:6443",
        "https://localhost:1",
        "https://127.0.0.9:1",
        "https://[::1]:1",
        "https://169.254.169.254",
    ] {
        assert_eq!(way(&proxies, direct), None, "{direct}");
    }
    for through in [
        "https://notexample.net",
        "https://example.net.org",
        "https://ported.net",
        "https://10.6.0.1",
        "https://192.0.2.70",
        "https://192.0.2.8",
        "https://[2001:db9::1]",
        "https://[2001:dba::1]",
        "https://broken.net",
    ] {
        assert!(way(&proxies, through).is_some(), "{through}");
    }
    let nobody = read(&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "*")]);
    assert_eq!(way(&nobody, "https://a.net"), None);
    assert_eq!(way(&nobody, "https://192.0.2.1"), None);
}

#[test]
fn what_is_no_proxy_is_refused_by_its_name_and_without_its_value() {
    for value in [
        "http://",
        "ftp://secret@p:1",
        "socks4://secret@p:1",
        "a b",
        "http://secret:x y@p",
    ] {
        let proxies = read(&[("https_proxy", value)]);
        let error = proxies.of(&"https://a.net".parse().unwrap()).unwrap_err();
        let told = error.to_string();
        assert!(told.starts_with("https_proxy is not the address"), "{told}");
        assert!(!told.contains("secret") && !format!("{proxies:?}").contains("secret"));
    }
    let proxies = read(&[("HTTPS_PROXY", "http://user:secret@p:1")]);
    let proxy = proxies
        .of(&"https://a.net".parse().unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(format!("{proxy:?}"), "Proxy(http://p:1)");
    assert_eq!(proxy.basic.unwrap(), "Basic dXNlcjpzZWNyZXQ=");
}

#[test]
fn s3_is_told_the_proxy_and_who_is_exempt_on_its_port() {
    let proxies = read(&[
        ("HTTPS_PROXY", "p:1"),
        ("HTTP_PROXY", "socks5://p:2"),
        ("NO_PROXY", "a.net:9000,b.net"),
    ]);
    let (proxy, exempt) = proxies
        .to_s3(&"https://s3.net".parse().unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(proxy, "http://p:1");
    assert!(exempt.ends_with("fd00:ec2::254,b.net"), "{exempt}");
    let error = proxies
        .to_s3(&"http://s3.net:9000".parse().unwrap())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("HTTP_PROXY names a SOCKS proxy")
    );
    assert!(
        proxies
            .to_s3(&"http://b.net".parse().unwrap())
            .unwrap()
            .is_none()
    );
}
