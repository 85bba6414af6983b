/** Settings that the command reads itself, beside those of the planes (up/settings.ts). */
export const COMMAND_SETTINGS = [
  /** Data folder of the platform. */
  'ISOPLANE_DATA_DIR',
  /** Of `isoplane up`: gateway processes. */
  'ISOPLANE_GATEWAYS',
  /** A platform elsewhere, and who calls it. */
  'ISOPLANE_URL',
  'ISOPLANE_GATEWAY_URL',
  'ISOPLANE_KEY',
  'ISOPLANE_KEY_FILE',
  'ISOPLANE_ACCOUNT',
  'ISOPLANE_PROFILE',
] as const;
