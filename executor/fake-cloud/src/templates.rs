//! Launch templates.

use crate::form::Form;
use crate::money::stamp;
use crate::world::{Answer, Refusal, World};
use crate::xml::{element, list, tags, text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;

/// Launch templates of an account and region (EC2's default quota).
const MOST: usize = 5000;

/// A launch template with its only version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Tags of the template itself.
    pub tags: BTreeMap<String, String>,
    pub(crate) data: Form,
    pub(crate) created: u64,
    /// Calls that deny that it exists.
    pub(crate) hidden: u32,
}

impl Template {
    /// A field of its data by its path in the query protocol, such as `ImageId` or `SecurityGroupId.1`.
    #[must_use]
    pub fn field(&self, path: &str) -> Option<&str> {
        self.data.get(path)
    }

    /// User data, decoded; `None` if there is none or it is not text in base64.
    #[must_use]
    pub fn user_data(&self) -> Option<String> {
        let bytes = STANDARD.decode(self.data.get("UserData")?).ok()?;
        String::from_utf8(bytes).ok()
    }
}

impl World {
    /// The template a specification names, by id or name.
    pub(crate) fn template(&mut self, specification: &Form) -> Result<Template, Refusal> {
        let (id, name) = (specification.get("LaunchTemplateId"), specification.get("LaunchTemplateName"));
        let found = self.templates.values_mut().find(|one| id == Some(&one.id) || name == Some(&one.name));
        let visible = found.and_then(|template| {
            let visible = template.hidden == 0;
            template.hidden = template.hidden.saturating_sub(1);
            visible.then(|| template.clone())
        });
        visible.ok_or_else(|| match (id, name) {
            (Some(id), _) => Refusal::new(
                "InvalidLaunchTemplateId.NotFound",
                format!("The launch template {id} does not exist."),
            ),
            (None, name) => Refusal::new(
                "InvalidLaunchTemplateName.NotFoundException",
                format!("The launch template {} does not exist.", name.unwrap_or_default()),
            ),
        })
    }

    pub(crate) fn create_template(&mut self, form: &Form) -> Answer {
        let name = form.get("LaunchTemplateName").unwrap_or_default().to_owned();
        if name.len() < 3 || name.len() > 128 {
            return Err(Refusal::new(
                "InvalidLaunchTemplateName.MalformedException",
                "Between 3 and 128 characters are needed.",
            ));
        }
        if self.templates.contains_key(&name) {
            let code = "InvalidLaunchTemplateName.AlreadyExistsException";
            return Err(Refusal::new(code, "Launch template name already in use."));
        }
        if self.templates.len() >= MOST {
            return Err(Refusal::new(
                "LaunchTemplateLimitExceeded",
                "You have reached the limit of launch templates.",
            ));
        }
        let template = Template {
            id: self.id("lt"),
            tags: form.tags("TagSpecification", "launch-template"),
            data: form.below("LaunchTemplateData"),
            created: self.now,
            hidden: self.script.invisible_templates,
            name: name.clone(),
        };
        let answer = vec![element("launchTemplate", &self.shown(&template))];
        self.templates.insert(name, template);
        Ok(answer)
    }

    fn shown(&self, template: &Template) -> Vec<String> {
        vec![
            text("launchTemplateId", &template.id),
            text("launchTemplateName", &template.name),
            text("createTime", &stamp(self.clock(template.created))),
            text("defaultVersionNumber", "1"),
            text("latestVersionNumber", "1"),
            tags(&template.tags),
        ]
    }

    pub(crate) fn describe_templates(&mut self, form: &Form) -> Answer {
        let mut shown = Vec::new();
        let names = form.list("LaunchTemplateName");
        for template in self.templates.values() {
            let passes = form.passes(&template.tags, |filter| match filter {
                "launch-template-name" => Some(vec![template.name.clone()]),
                "create-time" => Some(vec![stamp(self.clock(template.created))]),
                _ => None,
            });
            let asked = names.is_empty() || names.contains(&template.name);
            if passes.map_err(|message| Refusal::new("InvalidParameterValue", message))? && asked {
                shown.push(self.shown(template));
            }
        }
        let (shown, next) = self.page(form, shown)?;
        let mut answer = vec![list("launchTemplates", shown)];
        answer.extend(next);
        Ok(answer)
    }

    pub(crate) fn delete_template(&mut self, form: &Form) -> Answer {
        let template = self.template(form)?;
        self.templates.remove(&template.name);
        Ok(vec![element("launchTemplate", &self.shown(&template))])
    }
}
