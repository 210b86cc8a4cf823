//! Launch templates that nobody uses.

use crate::client::Aws;
use crate::errors::{Kind, Trouble};
use crate::limits::Class;
use crate::prepare::TAG_CLUSTER;
use aws_sdk_ec2::types::Filter;

/// Deleted at once; the rest is for the next time.
const MOST: usize = 20;

impl Aws {
    /// Deletes this cluster's launch templates that are old and were not used for a while; how many. One that is needed again is made again.
    pub(crate) async fn delete_unused_templates(&self) -> Result<usize, Trouble> {
        let unused = self.settings.template_unused;
        let now = jiff::Timestamp::now().as_millisecond();
        let least = i64::try_from(unused.as_millis()).unwrap_or(i64::MAX);
        let mut old = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let page = self
                .read("DescribeLaunchTemplates", Class::Read, || {
                    let name = format!("tag:{TAG_CLUSTER}");
                    let ours = Filter::builder().name(name).values(&self.settings.cluster).build();
                    self.ec2.describe_launch_templates().filters(ours).set_next_token(next.clone()).send()
                })
                .await?;
            old.extend(page.launch_templates().iter().filter_map(|template| {
                let made = template.create_time()?.to_millis().ok()?;
                let name = template.launch_template_name()?;
                (now.saturating_sub(made) >= least).then(|| name.to_owned())
            }));
            next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        let mut deleted = 0;
        for name in old.into_iter().take(MOST) {
            {
                // Forgotten first: whoever launches meanwhile makes it again.
                let mut caches = self.caches();
                if caches.templates.get(&name).is_some_and(|used| used.elapsed() < unused) {
                    continue;
                }
                caches.templates.remove(&name);
            }
            let request = self.ec2.delete_launch_template().launch_template_name(&name).send();
            match self.write("DeleteLaunchTemplate", Class::Write, request).await {
                Ok(_) => deleted += 1,
                Err(trouble) if trouble.kind == Kind::NotFound => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(deleted)
    }
}
