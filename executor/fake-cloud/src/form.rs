//! The query protocol: a form whose names are paths, such as `Filter.1.Value.2`.

use std::collections::BTreeMap;

/// A request's parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form(pub(crate) BTreeMap<String, String>);

impl Form {
    pub(crate) fn parse(body: &str) -> Form {
        let pairs = body.split('&').filter(|pair| !pair.is_empty());
        Form(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// Values of `name.1`, `name.2` and so on.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        (1..).map_while(|n| self.get(&format!("{name}.{n}")).map(str::to_owned)).collect()
    }

    /// What is below `name.1.`, `name.2.` and so on, each as a form of its own.
    pub(crate) fn parts(&self, name: &str) -> Vec<Form> {
        (1..).map(|n| self.below(&format!("{name}.{n}"))).take_while(|part| !part.0.is_empty()).collect()
    }

    /// What is below `name.`.
    pub(crate) fn below(&self, name: &str) -> Form {
        let prefix = format!("{name}.");
        let inside = self.0.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        Form(inside.map(|(key, value)| (key[prefix.len()..].to_owned(), value.clone())).collect())
    }

    /// Tags for a type of resource.
    pub(crate) fn tags(&self, name: &str, resource: &str) -> BTreeMap<String, String> {
        let specifications = self.parts(name);
        let wanted = specifications.iter().filter(|one| one.get("ResourceType") == Some(resource));
        wanted
            .flat_map(|one| one.parts("Tag"))
            .map(|tag| {
                (
                    tag.get("Key").unwrap_or_default().to_owned(),
                    tag.get("Value").unwrap_or_default().to_owned(),
                )
            })
            .collect()
    }

    /// Whether a thing passes all filters. `of` gives its values for a filter, `None` for one that is not known.
    pub(crate) fn passes(
        &self,
        tags: &BTreeMap<String, String>,
        of: impl Fn(&str) -> Option<Vec<String>>,
    ) -> Result<bool, String> {
        for filter in self.parts("Filter") {
            let name = filter.get("Name").unwrap_or_default();
            let wanted = filter.list("Value");
            let have = match name.strip_prefix("tag:") {
                Some(key) => tags.get(key).cloned().into_iter().collect(),
                None if name == "tag-key" => tags.keys().cloned().collect(),
                None => of(name).ok_or_else(|| format!("The filter '{name}' is invalid"))?,
            };
            if !have.iter().any(|value| wanted.iter().any(|pattern| glob(pattern, value))) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// EC2's wildcards: `*` is any text, `?` any character.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // reach[t]: the pattern so far can end just before text[t].
    let mut reach = vec![false; text.len() + 1];
    reach[0] = true;
    for one in pattern {
        let mut next = vec![false; text.len() + 1];
        for t in 0..=text.len() {
            next[t] = match one {
                '*' => reach[t] || (t > 0 && next[t - 1]),
                _ => t > 0 && reach[t - 1] && (one == '?' || text[t - 1] == one),
            };
        }
        reach = next;
    }
    reach[text.len()]
}

pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).and_then(|two| u8::from_str_radix(two, 16).ok());
        match (bytes[at], digits) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_a_tree() {
        let form = Form::parse(
            "Action=X&Filter.1.Name=tag%3Aa&Filter.1.Value.1=b+c&Filter.1.Value.2=%2A&Id.1=x&Id.2=y&Id.10=z",
        );
        assert_eq!(form.get("Action"), Some("X"));
        assert_eq!(form.list("Id"), ["x", "y"]);
        let filters = form.parts("Filter");
        assert_eq!(filters.len(), 1);
        assert_eq!(filters[0].list("Value"), ["b c", "*"]);
        let tags = BTreeMap::from([("a".to_owned(), "anything".to_owned())]);
        assert_eq!(form.passes(&tags, |_| None), Ok(true));
        assert_eq!(form.passes(&BTreeMap::new(), |_| None), Ok(false));
        let unknown = Form::parse("Filter.1.Name=nonsense&Filter.1.Value.1=b");
        assert!(unknown.passes(&tags, |_| None).is_err());
    }

    #[test]
    fn wildcards_match_as_a_shell_would() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "ab", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*x*y", "axbxcy", true),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }
}
