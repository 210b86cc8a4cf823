//! Plan files, as `stowage plan -o json` writes them.

use stowage_models::plan::{FORMAT_VERSION, KIND, Plan};

/// Why a plan file cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub hint: &'static str,
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n  hint: {}", self.text, self.hint)
    }
}

impl std::error::Error for FileError {}

/// Reads a plan that can be carried out: one that is whole, answers the cluster's own question, and launches or removes something.
///
/// # Errors
/// What is in the way.
pub fn read_file(bytes: &[u8]) -> Result<Plan, FileError> {
    let error = |text: String, hint| Err(FileError { text, hint });
    let again = "make the file anew with `stowage plan SNAPSHOT -o json`";
    let plan: Plan = match serde_json::from_slice(bytes) {
        Ok(plan) => plan,
        Err(why) => return error(format!("not a plan: {why}"), again),
    };
    if plan.kind != KIND {
        return error(format!("kind is {:?}, a plan's is {KIND:?}", plan.kind), again);
    }
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    if major(&plan.format_version) != major(FORMAT_VERSION) {
        let text = format!("format version {} is not {FORMAT_VERSION}", plan.format_version);
        return error(text, "use the kubectl plug-in and the command line of one version");
    }
    let actual = plan.compute_id();
    if plan.id != actual {
        let text = format!("the file was changed: its id is {}, that of its content is {actual}", plan.id);
        return error(text, again);
    }
    if !plan.what_if.is_empty() {
        let text = "the plan answers what would be if; that is not what is".to_owned();
        return error(text, "plan without changes: `stowage plan SNAPSHOT -o json`");
    }
    if plan.launches.is_empty() && crate::waves::of(&plan).is_none() {
        return error(
            "the plan launches nothing and removes nothing".to_owned(),
            "there is nothing to apply",
        );
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl Fn(&mut Plan)) -> String {
        let mut plan =
            Plan { kind: KIND.to_owned(), format_version: FORMAT_VERSION.to_owned(), ..Plan::default() };
        change(&mut plan);
        if plan.id.is_empty() {
            plan.id = plan.compute_id();
        }
        let error = read_file(&serde_json::to_vec(&plan).expect("JSON")).expect_err("it is refused");
        assert!(error.to_string().contains("hint: "));
        error.text
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_with_the_reason() {
        assert!(read_file(b"{").is_err_and(|error| error.text.contains("not a plan")));
        assert!(refused(|plan| plan.kind = "StowageSnapshot".to_owned()).contains("kind"));
        assert!(refused(|plan| plan.format_version = "2.0".to_owned()).contains("format version"));
        assert!(refused(|plan| plan.id = "sha256:0".to_owned()).contains("was changed"));
        assert!(refused(|_| ()).contains("launches nothing"));
    }
}
