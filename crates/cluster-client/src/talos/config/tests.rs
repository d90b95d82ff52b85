use super::*;

fn b64(text: &str) -> String {
    STANDARD.encode(text)
}

const PEM: &str = "-----BEGIN X-----\nAAAA\n-----END X-----\n";

fn whole(body: &str) -> String {
    format!("context: lab\ncontexts:\n  lab:\n{body}")
}

fn usual() -> String {
    let pem = b64(PEM);
    whole(&format!(
        "    endpoints: [10.0.0.2]\n    ca: {pem}\n    crt: {pem}\n    key: {pem}\n"
    ))
}

fn parse(text: &str) -> Result<TalosContext, TalosConfigError> {
    TalosContext::parse("/etc/talosconfig", text, &Overrides::default())
}

fn refusal(text: &str) -> String {
    match parse(text) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_context_is_read_with_its_endpoints_and_nodes() {
    let pem = b64(PEM);
    let text = whole(&format!(
        "    endpoints: [10.0.0.2, '[fd00::1]:6000', 10.0.0.2]\n    target: 10.0.0.9\n    nodes: \
         [10.0.0.2, cp-2, 10.0.0.2]\n    cluster: blue\n    unheard-of: 1\n    ca: {pem}\n    crt: \
         {pem}\n    key: {pem}\n"
    ));
    let context = parse(&text).unwrap();
    let endpoints: Vec<String> = context.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(
        endpoints,
        ["10.0.0.2:50000", "[fd00::1]:6000", "10.0.0.9:50000"]
    );
    assert_eq!(context.nodes, ["10.0.0.2", "cp-2"]);
    assert_eq!(context.cluster.as_deref(), Some("blue"));
    assert_eq!(context.ca, PEM);
}

#[test]
fn what_a_run_wants_goes_before_what_the_file_says() {
    let overrides = Overrides {
        context: Some("lab"),
        endpoints: &["10.9.9.9:1".to_owned()],
        nodes: &["cp-9".to_owned()],
    };
    let text = usual().replace("context: lab\n", "context: other\n");
    let context = TalosContext::parse("f", &text, &overrides).unwrap();
    assert_eq!(context.endpoints[0].to_string(), "10.9.9.9:1");
    assert_eq!(context.nodes, ["cp-9"]);
}

#[test]
fn a_missing_context_is_named_with_those_there_are() {
    let error = refusal(&usual().replace("context: lab\n", "context: prod\n"));
    assert!(error.contains("/etc/talosconfig"), "{error}");
    assert!(
        error.contains("\"prod\"") && error.contains("it has lab"),
        "{error}"
    );
    let error = refusal("context: prod\n");
    assert!(error.contains("it has none"), "{error}");
}

#[test]
fn each_bad_field_is_named_with_what_to_do() {
    let pem = b64(PEM);
    for (text, field, words) in [
        (
            usual().replace(&format!("ca: {pem}"), "ca: '%%%'"),
            "`ca`",
            "base64",
        ),
        (
            usual().replace(&format!("crt: {pem}"), &format!("crt: {}", b64("x"))),
            "`crt`",
            "PEM",
        ),
        (
            usual().replace(&format!("    key: {pem}\n"), ""),
            "`key`",
            "missing, while `crt`",
        ),
        (
            usual().replace(&format!("    crt: {pem}\n"), ""),
            "`crt`",
            "missing, while `key`",
        ),
        (
            usual().replace(&format!("    ca: {pem}\n"), ""),
            "`ca`",
            "impostor",
        ),
        (
            usual().replace("[10.0.0.2]", "[]"),
            "`endpoints`",
            "talosctl config endpoint",
        ),
        (
            usual().replace("[10.0.0.2]", "['http://a']"),
            "`endpoints`",
            "only https",
        ),
        (
            usual() + "    nodes: ['10.0.0.2:50000']\n",
            "`nodes`",
            "without port",
        ),
        (
            usual() + "    proxy-url: ftp://a\n",
            "`proxy-url`",
            "want http://HOST:PORT",
        ),
        (
            whole("    endpoints: [a]\n    auth: {siderov1: {identity: me}}\n"),
            "`crt`",
            "Omni",
        ),
    ] {
        let error = refusal(&text);
        for part in [field, words, "/etc/talosconfig", "\"lab\""] {
            assert!(error.contains(part), "{error} lacks {part}");
        }
    }
}

#[test]
fn an_empty_file_is_said_to_be_empty() {
    assert!(refusal(" \n").contains("is empty"));
}

#[test]
fn no_error_quotes_what_stands_in_the_file() {
    for text in [
        "contexts: SECRET\n".to_owned(),
        "context: lab\ncontexts:\n  lab: SECRET\n".to_owned(),
        whole("    endpoints: [a]\n    key: [SECRET]\n"),
        usual().replace("    key: ", "    key: SECRET:"),
        whole("    endpoints: SECRET\n"),
        "SECRET".to_owned(),
        "a: 'SECRET\n".to_owned(),
    ] {
        let error = refusal(&text);
        assert!(!error.contains("SECRET"), "{error}");
    }
    let error = refusal(&whole("    endpoints: SECRET\n"));
    assert!(error.contains("line 4"), "{error}");
    assert!(error.contains("contexts.lab.endpoints"), "{error}");
}
