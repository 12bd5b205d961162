/** All core modules except forms. */
export * from "./api.js";
export * from "./dom.js";
export * from "./fmt.js";
export * from "./live.js";
export * from "./shell.js";
export * from "./timing.js";
export * from "./user.js";
