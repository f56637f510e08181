// Every page of the built site, as on a desktop or, with DEVICE=phone, as on a phone.
const desktop = process.env.DEVICE !== "phone";
const atLeast = (level, minScore) => [level, { minScore }];
const categories = ["accessibility", "best-practices", "seo"];

module.exports = {
  ci: {
    collect: {
      staticDistDir: "../../_build/html",
      // What 404.html is for is not to be found by search engines.
      autodiscoverUrlBlocklist: ["/404.html"],
      maxAutodiscoverUrls: 0,
      numberOfRuns: 1,
      settings: { chromeFlags: "--headless=new --no-sandbox", ...(desktop && { preset: "desktop" }) },
    },
    assert: {
      assertMatrix: [
        {
          matchingUrlPattern: ".*",
          assertions: Object.fromEntries(categories.map((name) => [`categories:${name}`, atLeast("error", 0.95)])),
        },
        {
          matchingUrlPattern: "/(index|\\d\\d-[^/]+)\\.html",
          // A warning, since only a quiet machine can judge the speed.
          assertions: { "categories:performance": atLeast("warn", desktop ? 0.95 : 0.85) },
        },
      ],
    },
    upload: { target: "filesystem", outputDir: `../../_build/lighthouse/${desktop ? "desktop" : "phone"}` },
  },
};
